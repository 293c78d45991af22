"""Makes a few photos to play with: `python make_photos.py DIRECTORY [NUMBER]`.

Landscapes of layered hills under a sky, drawn from a seed, so that the same number gives the same
pictures.
"""

import colorsys
import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 2400, 1600
HILLS = 6


def make(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """One landscape."""
    chance = random.Random(seed)
    hue = chance.random()
    picture = sky(chance, hue, width, height)
    sun(chance, hue, picture)
    for layer in range(HILLS):
        hill(chance, hue, picture, layer)
    return picture.filter(ImageFilter.GaussianBlur(width / 1600))


def sky(chance: random.Random, hue: float, width: int, height: int) -> Image.Image:
    """A gradient from the zenith to the horizon."""
    zenith = colour(hue + 0.55, 0.55, 0.55 + chance.random() * 0.3)
    horizon = colour(hue, 0.35, 0.98)
    column = Image.new("RGB", (1, height))
    for y in range(height):
        share = min(1.0, y / (height * 0.7))
        column.putpixel(
            (0, y),
            tuple(round(a + (b - a) * share) for a, b in zip(zenith, horizon, strict=True)),
        )
    return column.resize((width, height))


def sun(chance: random.Random, hue: float, picture: Image.Image) -> None:
    """A disc with a glow."""
    width, height = picture.size
    x, y = width * chance.uniform(0.15, 0.85), height * chance.uniform(0.15, 0.45)
    radius = width * chance.uniform(0.025, 0.06)
    glow = Image.new("L", (width // 4, height // 4))
    box = [value / 4 for value in (x - radius * 2, y - radius * 2, x + radius * 2, y + radius * 2)]
    ImageDraw.Draw(glow).ellipse(box, fill=150)
    glow = glow.filter(ImageFilter.GaussianBlur(radius / 4)).resize(picture.size)
    picture.paste(Image.new("RGB", picture.size, colour(hue + 0.05, 0.15, 1.0)), mask=glow)
    ImageDraw.Draw(picture).ellipse(
        (x - radius, y - radius, x + radius, y + radius), fill=colour(hue + 0.08, 0.12, 1.0)
    )


def hill(chance: random.Random, hue: float, picture: Image.Image, layer: int) -> None:
    """A ridge; nearer ones are lower and darker."""
    width, height = picture.size
    depth = layer / (HILLS - 1)
    base = height * (0.45 + 0.42 * depth)
    waves = [
        (chance.uniform(0.4, 1.2) * 2**octave, chance.uniform(0, math.tau), 0.07 / 1.7**octave)
        for octave in range(7)
    ]
    ridge = [
        (
            x,
            base + height * sum(a * math.sin(f * math.tau * x / width + p) for f, p, a in waves),
        )
        for x in range(0, width + 4, 4)
    ]
    shade = colour(hue + 0.5 * depth, 0.25 + 0.4 * depth, 0.85 - 0.68 * depth)
    ImageDraw.Draw(picture).polygon([(0, height), *ridge, (width, height)], fill=shade)


def colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def main() -> None:
    """Writes the pictures."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for seed in range(int(sys.argv[2]) if len(sys.argv) > 2 else 6):
        path = directory / f"landscape-{seed + 1}.jpg"
        make(seed).save(path, quality=90)
        print(path)


if __name__ == "__main__":
    main()
