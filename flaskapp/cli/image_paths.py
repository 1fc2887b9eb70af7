"""The images that files and folders stand for."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# Names decide what in a folder is tried: it is full of other things. A file that is named is tried whatever its name.
SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
}


def image_paths(paths: Iterable[Path], on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """The files as they are named, the images of folders and of those in them by name. Nothing hidden is looked at.

    `on_error` is called with folders that cannot be read.
    """
    for path in paths:
        if _is_folder(path):
            yield from _images_in(path, on_error)
        else:
            yield path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _images_in(root: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder, name)
