import io
import tracemalloc
import zipfile

import pytest

from flaskapp.errors import UnreadableUpload
from flaskapp.jobs import Limits, NamedFile, unpack
from flaskapp.jobs.tables import MAX_INPUT

LIMITS = Limits(images=5, bytes=10_000)


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def refusal(*files: bytes) -> str:
    """Return the message that refuses an upload."""
    with pytest.raises(UnreadableUpload) as caught:
        unpack([NamedFile(f"{number}", data) for number, data in enumerate(files)], LIMITS).fingerprint()
    return str(caught.value)


def test_files_keep_their_order() -> None:
    bundle = unpack([NamedFile("b.png", b"2"), NamedFile("a.png", b"1"), NamedFile("b.png", b"3")], LIMITS)
    assert list(bundle) == [("b.png", b"2"), ("a.png", b"1"), ("b.png", b"3")]
    assert [[file.data for file in chunk] for chunk in bundle.chunks(2)] == [[b"2", b"1"], [b"3"]]
    assert bundle.largest_chunk(2) == 2


def test_a_zip_yields_its_files_without_folders_and_system_files() -> None:
    members = {"cats/": b"", "cats/1.png": b"1", "__MACOSX/cats/._1.png": b"x", ".DS_Store": b"x", "2.png": b"2"}
    bundle = unpack([NamedFile("whatever.jpg", zip_of(members))], LIMITS)
    assert list(bundle) == [("cats/1.png", b"1"), ("2.png", b"2")]


@pytest.mark.parametrize(
    ("written", "decoded"),
    [("Köln 猫.png".encode(), "Köln 猫.png"), ("Köln.png".encode("cp437"), "Köln.png"), (b"star.png", "star.png")],
    ids=["macOS", "code page 437", "ASCII"],
)
def test_names_without_the_utf_8_flag_are_decoded(written: bytes, decoded: str) -> None:
    placeholder = "x" * len(written)
    packed = zip_of({placeholder: b"data"}).replace(placeholder.encode(), written)
    assert unpack([NamedFile("x.zip", packed)], LIMITS).names == [decoded]


def test_the_same_files_have_the_same_fingerprint_from_a_zip_or_not() -> None:
    files = [NamedFile("1.png", b"1"), NamedFile("2.png", b"2")]
    whole = unpack(files, LIMITS)
    packed = unpack([NamedFile("x.zip", zip_of(dict(files)))], LIMITS)
    assert whole.fingerprint("a") == packed.fingerprint("a") != whole.fingerprint("b")
    assert whole.fingerprint() != unpack(files[::-1], LIMITS).fingerprint()
    assert whole.fingerprint() != unpack([NamedFile("1.pn", b"g1"), files[1]], LIMITS).fingerprint()


def test_no_images_and_too_many_images_are_refused() -> None:
    assert refusal(*[b"1"] * 6) == refusal(zip_of({f"{n}": b"1" for n in range(6)})) == "send at most 5 images in a job"
    assert refusal(zip_of({})) == refusal(zip_of({"folder/": b""})) == "there are no images in it"


def test_a_zip_bomb_is_refused_by_its_declared_size() -> None:
    packed = zip_of({"bomb.png": bytes(10_001)})
    assert len(packed) < 1000
    assert refusal(packed) == refusal(b"1" * 10_001) == "the images have more than 0 MiB together"


@pytest.mark.parametrize("declared", [0, 100])
def test_a_zip_bomb_with_a_wrong_size_is_not_unpacked_beyond_it(declared: int) -> None:
    packed = zip_of({"bomb.png": bytes(50_000_000)})
    lying = packed.replace((50_000_000).to_bytes(4, "little"), declared.to_bytes(4, "little"))
    tracemalloc.start()
    assert refusal(lying) == "the zip is broken"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_too_large_zip_directory_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    many = zip_of({f"folder {number}/": b"" for number in range(1001)} | {"1.png": b"1"})
    long, entry = io.BytesIO(), zipfile.ZipInfo("1.png")
    entry.extra = bytes(2000)
    with zipfile.ZipFile(long, "w") as archive:
        archive.writestr(entry, b"1")
    few = zip_of({f"folder {number}/": b"" for number in range(900)} | {"1.png": b"1"})
    assert list(unpack([NamedFile("x.zip", few)], LIMITS)) == [("1.png", b"1")]
    monkeypatch.delattr(zipfile, "ZipFile")
    assert refusal(many) == "the zip has more than 1000 files and folders"
    assert refusal(long.getvalue()) == "the zip has too much about its files beside them"


@pytest.mark.parametrize("place", ["header", "data", "directory"])
def test_a_broken_zip_is_refused(place: str) -> None:
    packed = bytearray(zip_of({"1.png": bytes(range(256)) * 10}, zipfile.ZIP_STORED))
    at = {"header": 1, "data": 500, "directory": packed.rindex(b"PK\x01\x02") + 1}[place]
    packed[at] ^= 1
    if place == "header":
        assert list(unpack([NamedFile("x", bytes(packed))], LIMITS)) == [("x", bytes(packed))], "not a zip at all"
    else:
        assert refusal(bytes(packed)) == "the zip is broken"
    assert refusal(bytes(packed[:1500]).replace(packed[:4], b"PK\x03\x04")) == "the zip is broken"


def test_an_encrypted_or_unusually_compressed_zip_is_refused() -> None:
    packed = bytearray(zip_of({"1.png": b"1"}))
    packed[packed.rindex(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(packed)) == "the zip is encrypted"
    assert "deflate" in refusal(zip_of({"1.png": b"1"}, zipfile.ZIP_LZMA))


def test_a_zip_beside_other_files_is_refused() -> None:
    assert refusal(zip_of({"1.png": b"1"}), b"1") == "send one zip alone, or images"


def test_names_can_be_stored_in_a_database() -> None:
    names = ["../../etc/passwd", "a\0b", "\ud800", "x" * 1000]
    bundle = unpack([NamedFile(name, b"") for name in names], LIMITS)
    assert bundle.names == ["../../etc/passwd", "ab", "?", "x" * MAX_INPUT]
