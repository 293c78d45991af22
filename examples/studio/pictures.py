"""What is done with pictures: plain functions that know neither web nor jobs."""

from pathlib import Path

from PIL import Image, ImageOps
from pydantic import BaseModel

import settings

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

Image.MAX_IMAGE_PIXELS = settings.UPLOAD_PIXELS


class NotAPicture(Exception):
    """The bytes are no picture that the studio takes; the message is for the user."""


class Size(BaseModel):
    """A picture that was made of a photo, or why it could not be."""

    width: int
    height: int = 0
    bytes: int = 0
    problem: str | None = None


def inspect(path: Path) -> tuple[int, int]:
    """Width and height of an uploaded picture, judged by its content, not by its name."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            picture.verify()
    except Image.DecompressionBombError:
        raise NotAPicture("This picture has too many pixels.") from None
    except Exception as error:  # Pillow's parsers raise many kinds for broken files
        raise NotAPicture("This is not a JPEG, PNG, WebP or GIF picture.") from error
    if width * height > settings.UPLOAD_PIXELS:
        raise NotAPicture("This picture has too many pixels.")
    return width, height


def shrink(photo_id: str, width: int) -> Size:
    """Makes one size of a photo. Doing it twice does no harm: the file is replaced whole."""
    try:
        with Image.open(settings.ORIGINALS / photo_id, formats=FORMATS) as original:
            picture = ImageOps.exif_transpose(original).convert("RGB")
    except OSError as error:
        return Size(width=width, problem=f"The picture is broken: {error}")
    if picture.width > width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    path = size_path(photo_id, width)
    fresh = path.with_suffix(".new")
    picture.save(fresh, "WEBP", quality=82)
    fresh.replace(path)
    return Size(width=width, height=picture.height, bytes=path.stat().st_size)


def size_path(photo_id: str, width: int) -> Path:
    """Where a size of a photo is kept."""
    return settings.SIZES / f"{photo_id}-{width}.webp"
