"""Finds the images in files and folders."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# Suffixes of the files in folders. A file that is named on the command line may have any suffix.
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
    """Yield files as they are, and the images of folders, recursively and sorted by name, without hidden ones.

    Calls `on_error` for folders that cannot be read.
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
