"""Shards and pairs: what is written is what is read."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from mggtalk_core.errors import InputError
from mggtalk_core.render.torso import Torso
from mggtalk_core.training.pairs import PairSet
from mggtalk_core.training.shards import Shard, decode, encode_exactly, encode_photograph, write_shard
from tests.training_samples import random_shard, random_source, random_target, soft_picture


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_exact_pictures_come_back_exactly(channels):
    picture = soft_picture(channels, 0)
    assert torch.equal(decode(encode_exactly(picture)), picture)


def test_photographs_come_back_nearly_with_their_colours_in_order():
    picture = soft_picture(3, 0)
    picture[0] = 250  # red
    back = decode(encode_photograph(picture))
    assert back.shape == picture.shape
    # Quality 98: half a grey level in the mean; swapped channels would differ by a hundred.
    assert float((back.float() - picture.float()).abs().mean()) < 1.0


def test_a_shard_holds_what_was_put_in(tmp_path):
    random_shard(tmp_path, "clip.mp4.00007", "ann", targets=3, clip="clip.mp4")
    pairs, source = PairSet(tmp_path), random_source(3)
    assert len(pairs) == 3
    assert Shard.open(tmp_path / "clip.mp4.00007.safetensors").frames == (0, 3, 6)
    for place, pair in enumerate(pairs):
        target = random_target(3 * place)
        for name in ("render", "matte", "landmarks", "beta", "gaze", "rotation", "translation"):
            assert torch.equal(getattr(pair, name), getattr(target, name)), name
        for name in ("identity", "beta_s", "gaze", "offsets"):
            assert torch.equal(getattr(pair.fit, name), getattr(source.fit, name)), name
        assert torch.equal(pair.fit.camera.world_to_camera, source.fit.camera.world_to_camera)
        assert (pair.fit.camera.focal, pair.fit.camera.width, pair.fit.camera.height) == (1400.0, 512, 512)
        assert pair.fit.residual == source.fit.residual
        assert torch.equal(pair.inside, source.inside) and torch.equal(pair.source_landmarks, source.landmarks)
        assert torch.equal(pair.coarse.offsets, source.coarse) and torch.equal(pair.coarse.beta_s, source.fit.beta_s)
        assert torch.equal(pair.source_matte, source.matte) and torch.equal(pair.labels, source.labels)
        assert float((pair.truth.float() - target.truth.float()).abs().mean()) < 1.0
        assert float((pair.source.float() - source.image.float()).abs().mean()) < 1.0
        assert float((pair.background.float() - source.background.float()).abs().mean()) < 1.0
        assert (pair.identity, pair.clip) == ("ann", "clip.mp4")


def test_turns_are_angles_between_views(tmp_path):
    random_shard(tmp_path, "a", "ann", targets=2)
    random_shard(tmp_path, "b", "bob", targets=1)
    pairs = PairSet(tmp_path)
    cosines = [torch.cosine_similarity(pair.rotation[2], pair.fit.camera.rotation[2], dim=0) for pair in pairs]
    assert pairs.turns == pytest.approx([float(cosine.acos()) for cosine in cosines], abs=1e-4)


def test_the_torso_follows_the_head_as_in_a_finished_frame(tmp_path):
    random_shard(tmp_path, "clip.mp4.00007", "ann", targets=2)
    pair = PairSet(tmp_path)[1]
    camera = pair.fit.camera.posed(pair.rotation, pair.translation)
    followed = Torso(pair.background.float() / 255.0, pair.labels[0], pair.fit.camera)(camera)
    # The layer is rounded to bytes; the pose moves it by far more.
    assert float((pair.layer / 255.0 - followed.clamp(0.0, 1.0)).abs().max()) <= 0.51 / 255.0
    assert float((pair.layer.float() - pair.background.float()).abs().max()) > 10.0


def test_pairs_are_in_the_order_of_names_and_grouped_by_person(tmp_path):
    random_shard(tmp_path, "c", "bob", targets=1)
    random_shard(tmp_path, "a", "bob", targets=2, clip="first")
    random_shard(tmp_path, "b", "ann", targets=3, clip="first")
    pairs = PairSet(tmp_path)
    assert [pair.identity for pair in pairs] == ["bob", "bob", "ann", "ann", "ann", "bob"]
    assert pairs.by_identity == {"ann": [2, 3, 4], "bob": [0, 1, 5]}
    assert pairs.by_clip == {"c": [5], "first": [0, 1, 2, 3, 4]}
    assert pairs.shards[0].info.licence_class == "B"


def test_pairs_can_be_sent_to_another_process(tmp_path):
    random_shard(tmp_path, "a", "ann", targets=2)
    pairs = PairSet(tmp_path)
    first = pairs[1]
    sent = pickle.loads(pickle.dumps(pairs))
    assert torch.equal(sent[1].render, first.render) and torch.equal(sent[1].fit.offsets, first.fit.offsets)


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="train prepare"):
        PairSet(tmp_path)


def test_a_file_that_is_no_shard_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        PairSet(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="version"):
        PairSet(tmp_path)


def test_a_shard_without_targets_is_refused(tmp_path):
    info = Shard.open(random_shard(tmp_path, "a", "ann")).info
    with pytest.raises(InputError, match="no target"):
        write_shard(tmp_path / "b.safetensors", info, random_source(), [])
    assert not (tmp_path / "b.safetensors").exists()
