from deepfake_edge.data import Floats, Pixels, Planes

ROWS_PER_THREAD: int

class CropOptions:
    def __init__(
        self,
        *,
        size_px: int,
        margin: float,
        fit: str,
        resize: str,
        channel_order: str,
        mean: tuple[float, float, float],
        scale: tuple[float, float, float],
    ) -> None: ...

def crop_batch(
    image: Pixels | Planes,
    layout: str,
    boxes_xyxy: Floats,
    out: Floats,
    options: CropOptions,
    threads: int,
    kernel: str,
) -> None: ...
def plan_crops(width: int, height: int, layout: str, boxes_xyxy: Floats, options: CropOptions) -> Pixels: ...
def kernels() -> list[str]: ...
