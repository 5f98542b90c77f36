"""Write self-blended fakes of real clips as files, to measure a detector on people who have no fakes.

    python -m deepfake_edge.benchmarks.blended_clips --out FOLDER [--blends 3] CLIPS...

Frames that show a face are taken at a rate and written without loss (FFV1), so that the fakes differ from the
real clips in the blend alone. Each clip gives FOLDER/NAME-N.mkv for N from 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deepfake_edge.benchmarks.real_clips import read_clip, self_blended, write_lossless
from deepfake_edge.errors import DeepfakeEdgeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Blend and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="real clips")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--fps", type=float, default=12.0, metavar="N", help="frames a second (default: 12)")
    parser.add_argument("--blends", type=int, default=3, metavar="N", help="of each clip (default: 3)")
    parser.add_argument("--strength", type=float, default=1.0, help="of a blend's tone (default: 1, about the paper's)")
    given = parser.parse_args(arguments)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        for place, path in enumerate(given.clips):
            clip = read_clip(path, given.fps)
            for number in range(1, given.blends + 1):
                fake = self_blended(clip, (place, number), given.strength)
                write_lossless(fake.pictures, given.out / f"{path.stem}-{number}.mkv", given.fps)
    except (DeepfakeEdgeError, OSError) as error:
        parser.exit(1, f"{type(error).__name__}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
