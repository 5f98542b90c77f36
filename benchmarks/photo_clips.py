"""Write each face of a photograph as a clip, to train on people of whom there is no video.

    python -m deepfake_edge.benchmarks.photo_clips --out FOLDER [--seconds 3] PHOTOS...

A camera drifts over the face; FOLDER/NAME-N.mkv, without loss, for N from 1, the faces from left to right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepfake_edge.benchmarks.real_clips import write_lossless
from deepfake_edge.choices import choose_finder
from deepfake_edge.data import Box, Frame, Pixels
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.pictures import read_picture
from deepfake_edge.training.sample_clip import Camera

_FPS = 25.0
# Of the face's longer side: what a prepared picture holds of it, and room to sway.
_AROUND, _SWAY = 2.4, 0.03


def face_views(picture: Pixels, box: Box, count: int) -> Iterator[Pixels]:
    """A camera's views of a face: uint8 (S, S, 3), S even, 2.4 times the face's longer side.

    Args:
        picture: uint8 (H, W, 3), BGR.
        box: the face.
        count: how many.
    """
    longer = max(box[2] - box[0], box[3] - box[1])
    side = 2 * round(_AROUND * longer / 2)
    camera = Camera(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), 1.0, _SWAY * longer, (side, side))
    for number in range(count):
        yield camera.view(picture, number / count)


def main(arguments: Sequence[str] | None = None) -> int:
    """Find the faces and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="pictures with faces")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each clip (default: 3)")
    parser.add_argument("--faces", default="auto", metavar="FINDER", help="what finds them (default: auto)")
    given = parser.parse_args(arguments)
    try:
        finder = choose_finder(given.faces)[1]()
        given.out.mkdir(parents=True, exist_ok=True)
        for path in given.photos:
            picture = read_picture(path).pixels
            (faces,) = finder.find([Frame(0, 0.0, picture)])
            if not faces:
                raise InvalidInput(f"{path}: no face in it")
            for number, face in enumerate(sorted(faces, key=lambda face: face.box_xyxy), start=1):
                views = tuple(face_views(picture, face.box_xyxy, round(given.seconds * _FPS)))
                write_lossless(views, given.out / f"{path.stem}-{number}.mkv", _FPS)
    except (DeepfakeEdgeError, OSError) as error:
        parser.exit(1, f"{type(error).__name__}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
