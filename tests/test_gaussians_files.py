"""PLY and SPZ: what goes out comes back, other programs read it, and bad files are refused in one line."""

import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.gaussians.files import read_gaussians, write_gaussians
from mggtalk_core.gaussians.gaussians import Gaussians
from mggtalk_core.gaussians.ply import from_image_axes, to_image_axes
from mggtalk_core.render.rasterize import render
from mggtalk_core.render.synthetic import head_camera, head_scene

FIELDS = ("means", "quats", "scales", "opacities", "sh", "labels")


def random_gaussians(count=200, seed=0) -> Gaussians:
    random = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(count, 3, generator=random),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=random), dim=1),
        scales=torch.exp(torch.randn(count, 3, generator=random) - 3),
        opacities=torch.rand(count, generator=random),
        sh=0.3 * torch.randn(count, 4, 3, generator=random),
        labels=torch.randint(0, 5, (count,), generator=random, dtype=torch.uint8),
    )


def same_rotation(a, b) -> torch.Tensor:
    """Angle between two rotations in radians; q and -q are the same."""
    dot = (torch.nn.functional.normalize(a.double(), dim=1) * torch.nn.functional.normalize(b.double(), dim=1)).sum(1)
    return 2 * torch.acos(dot.abs().clamp(max=1))


def test_axes_go_there_and_back_bit_for_bit():
    scene = random_gaussians()
    back = from_image_axes(to_image_axes(scene))
    assert all(torch.equal(getattr(back, name), getattr(scene, name)) for name in FIELDS)


def test_ply_round_trip(tmp_path):
    scene = random_gaussians()
    write_gaussians(tmp_path / "head.ply", scene)
    back = read_gaussians(tmp_path / "head.ply")
    for name in ("means", "quats", "sh"):
        assert torch.equal(getattr(back, name), getattr(scene, name)), name
    # The logarithm of a scale near 1e-3 has 6e-7 of float32 to lose; logit and back lose as much.
    assert torch.allclose(back.scales, scene.scales, rtol=2e-6)
    assert torch.allclose(back.opacities, scene.opacities, atol=2e-6)
    assert back.labels.dtype == torch.uint8 and (back.labels == 0).all()


@pytest.mark.parametrize("ending", ["ply", "spz"])
@pytest.mark.parametrize("count", [0, 1])
def test_few_gaussians(tmp_path, ending, count):
    write_gaussians(tmp_path / f"head.{ending}", random_gaussians(count))
    assert len(read_gaussians(tmp_path / f"head.{ending}")) == count


def test_safetensors_round_trip(tmp_path):
    scene = random_gaussians()
    write_gaussians(tmp_path / "head.safetensors", scene)
    back = read_gaussians(tmp_path / "head.safetensors")
    assert all(torch.equal(getattr(back, name), getattr(scene, name)) for name in FIELDS)


def test_spz_round_trip_is_exact_to_its_steps(tmp_path):
    scene = random_gaussians()
    write_gaussians(tmp_path / "head.spz", scene)
    back = read_gaussians(tmp_path / "head.spz")
    assert (back.means - scene.means).abs().max() <= 0.5001 / 4096
    assert (back.opacities - scene.opacities).abs().max() <= 0.5001 / 255
    assert (back.scales.log() - scene.scales.log()).abs().max() <= 0.5001 / 16
    assert (back.sh[:, 0] - scene.sh[:, 0]).abs().max() <= 0.5001 / (255 * 0.15)
    assert (back.sh[:, 1:] - scene.sh[:, 1:].clamp(-1, 127 / 128)).abs().max() <= 0.5001 / 128
    # Three components in steps of 1 / (511 sqrt 2), half a step off each, and the fourth follows.
    assert same_rotation(back.quats, scene.quats).max() < 2 * 3 * 0.5 / (511 * 2**0.5)


def test_spz_of_an_spz_is_the_same_file(tmp_path):
    write_gaussians(tmp_path / "one.spz", random_gaussians())
    once = read_gaussians(tmp_path / "one.spz")
    write_gaussians(tmp_path / "two.spz", once)
    assert (tmp_path / "one.spz").read_bytes() == (tmp_path / "two.spz").read_bytes()


def test_spz_holds_the_picture(tmp_path):
    scene, camera = head_scene(4000), head_camera(96)
    write_gaussians(tmp_path / "head.spz", scene)
    write_gaussians(tmp_path / "head.ply", scene)
    before = render(scene, camera, backend="numba").rgb
    assert (render(read_gaussians(tmp_path / "head.ply"), camera, backend="numba").rgb - before).abs().max() < 1e-3
    assert (render(read_gaussians(tmp_path / "head.spz"), camera, backend="numba").rgb - before).abs().mean() < 0.01
    assert (tmp_path / "head.spz").stat().st_size < 0.3 * (tmp_path / "head.ply").stat().st_size


def test_spz_leaves_out_harmonics_that_are_zero(tmp_path):
    scene = random_gaussians()
    scene.sh[:, 1:] = 0
    write_gaussians(tmp_path / "head.spz", scene)
    assert gzip.decompress((tmp_path / "head.spz").read_bytes())[12] == 0
    assert (read_gaussians(tmp_path / "head.spz").sh[:, 1:] == 0).all()


def test_extreme_numbers_fit_into_spz(tmp_path):
    scene = random_gaussians(4)
    scene.means[0] = torch.tensor([1e9, -1e9, float("nan")])
    scene.scales[1], scene.opacities[2] = 0.0, 5.0
    scene.quats[3] = 0.0
    write_gaussians(tmp_path / "head.spz", scene)
    back = read_gaussians(tmp_path / "head.spz")
    assert all(torch.isfinite(getattr(back, name)).all() for name in FIELDS)
    assert back.means[0].tolist() == pytest.approx([2048, -2048, 0], abs=1e-3)
    assert back.quats[3].tolist() == pytest.approx([1, 0, 0, 0])


@pytest.mark.parametrize("ending", ["ply", "spz"])
def test_another_program_reads_what_we_write(tmp_path, ending):
    gsply = pytest.importorskip("gsply")
    scene, path = random_gaussians(), tmp_path / f"head.{ending}"
    write_gaussians(path, scene)
    data = gsply.plyread(path) if ending == "ply" else gsply.read_spz(path)
    ours = read_gaussians(path) if ending == "spz" else to_image_axes(read_gaussians(path))
    theirs = {name: torch.from_numpy(np.asarray(getattr(data, name))) for name in ("means", "sh0", "quats")}
    assert torch.allclose(theirs["means"], ours.means, atol=1e-6)
    assert torch.allclose(theirs["sh0"].view(-1, 3), ours.sh[:, 0], atol=1e-5)
    assert same_rotation(theirs["quats"], ours.quats).max() < 2e-3
    assert np.allclose(np.asarray(data.shN).reshape(-1, 3, 3), ours.sh[:, 1:].numpy(), atol=1e-5)


def test_we_read_what_another_program_writes(tmp_path):
    gsply = pytest.importorskip("gsply")
    scene = random_gaussians()
    write_gaussians(tmp_path / "ours.ply", scene)
    data = gsply.plyread(tmp_path / "ours.ply")
    gsply.plywrite(tmp_path / "theirs.ply", data)
    back = read_gaussians(tmp_path / "theirs.ply")
    assert torch.allclose(back.means, scene.means) and torch.allclose(back.sh, scene.sh)
    assert same_rotation(back.quats, scene.quats).max() < 1e-3


def rewritten(path, form: str, extra: int = 0) -> None:
    """Turn a PLY of ours into another encoding, with ``extra`` more harmonics per channel."""
    header, data = path.read_bytes().split(b"end_header\n", 1)
    names = [line.split()[2] for line in header.decode().splitlines() if line.startswith("property")]
    table = {name: column for name, column in zip(names, np.frombuffer(data, "<f4").reshape(-1, 26).T, strict=True)}
    rest = [table.pop(f"f_rest_{k}") for k in range(9)]
    each = 3 + extra
    for channel in range(3):
        for k in range(each):
            table[f"f_rest_{channel * each + k}"] = rest[channel * 3 + k] if k < 3 else np.full_like(rest[0], 7.0)
    body = np.stack(list(table.values()), axis=1)
    lines = ["ply", f"format {form} 1.0", "comment made by hand", f"element vertex {len(body)}"]
    lines += [*(f"property float {name}" for name in table), "element face 0"]
    lines += ["property list uchar int v", "end_header"]
    text = ("\n".join(lines) + "\n").encode()
    if form == "ascii":
        text += "\n".join(" ".join(f"{x:.9g}" for x in row) for row in body).encode()
    else:
        text += body.astype(">f4" if "big" in form else "<f4").tobytes()
    path.write_bytes(text)


@pytest.mark.parametrize("extra", [0, 5, 12])
@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_of_other_makers(tmp_path, form, extra):
    path, scene = tmp_path / "head.ply", random_gaussians(20)
    write_gaussians(path, scene)
    expected = read_gaussians(path)
    rewritten(path, form, extra)
    back = read_gaussians(path)
    assert all(torch.equal(getattr(back, name), getattr(expected, name)) for name in FIELDS)


def test_spz_of_version_2(tmp_path):
    # One Gaussian by hand: a quarter turn about x in three bytes.
    half = round((2**-0.5 + 1) * 127.5)
    body = struct.pack("<IIIBBBB", 0x5053474E, 2, 1, 0, 12, 0, 0)
    body += bytes([0, 16, 0, 0, 240, 255, 0, 0, 0]) + bytes([51, 255, 0, 128, 160, 144, 176, half, 128, 128])
    (tmp_path / "old.spz").write_bytes(gzip.compress(body))
    back = read_gaussians(tmp_path / "old.spz")
    assert back.means[0].tolist() == [1.0, -1.0, 0.0]
    assert back.opacities[0].item() == pytest.approx(0.2)
    assert back.sh[0, 0].tolist() == pytest.approx([0.5 / 0.15, -0.5 / 0.15, 0.0131], abs=1e-3)
    assert back.scales[0].log().tolist() == pytest.approx([0.0, -1.0, 1.0], abs=1e-6)
    assert same_rotation(back.quats, torch.tensor([[2**-0.5, 2**-0.5, 0.0, 0.0]])).max() < 0.02


def spoil(data: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "text": b"hello, this is not a splat",
        "zeros": bytes(200),
    }


@pytest.mark.parametrize("ending", ["ply", "spz", "safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "zeros"])
def test_damaged_files_are_refused_in_one_line(tmp_path, ending, damage):
    path = tmp_path / f"head.{ending}"
    write_gaussians(path, random_gaussians(50))
    path.write_bytes(spoil(path.read_bytes())[damage])
    with pytest.raises(InputError) as refused:
        read_gaussians(path)
    assert "\n" not in str(refused.value) and path.name in str(refused.value)


@pytest.mark.parametrize("header", ["element vertex 3", "element face 2\nelement vertex 3", "element vertex -1"])
def test_other_plys_are_refused(tmp_path, header):
    path = tmp_path / "mesh.ply"
    path.write_text(f"ply\nformat ascii 1.0\n{header}\nproperty float x\nend_header\n0\n1\n2\n")
    with pytest.raises(InputError):
        read_gaussians(path)


@pytest.mark.parametrize("name", ["missing.ply", "folder.spz", "head.obj"])
def test_what_is_no_file_of_ours_is_refused(tmp_path, name):
    (tmp_path / "folder.spz").mkdir()
    with pytest.raises(InputError, match="Cannot read"):
        read_gaussians(tmp_path / name)


def test_gradients_do_not_stand_in_the_way(tmp_path):
    scene = random_gaussians(5)
    means, scales = (tensor.clone().requires_grad_(True) for tensor in (scene.means, scene.scales))
    tracked = replace(scene, means=means, scales=scales)
    for ending in ("ply", "spz"):
        write_gaussians(tmp_path / f"a.{ending}", tracked)
        write_gaussians(tmp_path / f"b.{ending}", scene)
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
