from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import ParameterError
from core.multimodal.config import FUSIONS, FinetuneSettings, lora_targets
from core.multimodal.data import Collator, Example, make_examples, tokenize
from core.runtime.weights import Checkpoint, find
from tests.tiny_models import KINDS, TEXT_KINDS, tiny_encoder, voice

torch = pytest.importorskip("torch")

from core.encoders.pretrained import Extractor, load_encoder, normalise, prepare_clip  # noqa: E402
from core.multimodal.fitted import build_network, count_parameters, find_encoders, load_network, predict, save_network  # noqa: E402
from core.multimodal.model import AttentionPooling, AudioEncoder, Labels, add_adapters, concordance  # noqa: E402
from core.runtime.device import CPU  # noqa: E402

LABELS = Labels(mean=5.0, std=2.0, low=1.0, high=9.0)
TEXTS = ["mean pitch 180 hz", "no pause", "", "silent 12 % voiced 80 % level of the pitch range on average"]


def settings_of(folders, audio, text, /, **options):
    options = {"dropout": 0.0} | options
    return FinetuneSettings(audio_model=str(folders[audio]), text_model=str(folders[text]), **options)


def network_of(settings):
    torch.manual_seed(0)
    return build_network(settings, LABELS, find_encoders(settings))


def stir(network):
    """Adapters as after training: those of a new network add nothing, whatever they read."""
    torch.manual_seed(1)
    for name, one in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.5)
    return network


def examples_of(tmp_path, settings, *, waveforms, seconds=(1.0, 2.3, 0.4, 12.5)):
    rng = np.random.default_rng(0)
    encoders, paths = find_encoders(settings), []
    for place, length in enumerate(seconds):
        array = normalise(voice(length, seed=place)) if waveforms else rng.normal(size=(int(50 * length), 16)).astype(np.float16)
        paths.append(tmp_path / f"{place}.npy")
        np.save(paths[-1], array)
    return make_examples(TEXTS, [3.0, 4.0, 5.0, 6.0], paths, encoders.text, encoders.tokenizer)


@pytest.mark.parametrize(("audio", "text"), list(zip([*KINDS, "whisper"], TEXT_KINDS, strict=True)))
def test_each_adapter_has_a_gradient_and_nothing_else_of_an_encoder_is_trained(folders, tmp_path, audio, text):
    settings = settings_of(folders, audio, text, audio_encoder="lora")
    network = stir(network_of(settings))
    network(**Collator(waveforms=True)(examples_of(tmp_path, settings, waveforms=True, seconds=(1.0, 1.5, 0.5, 2.0))))[
        "loss"
    ].backward()
    of_encoders = {name: one for name, one in network.named_parameters() if "encoder" in name.split(".")[0]}
    adapters = {name: one for name, one in of_encoders.items() if "lora_" in name}
    for side, checkpoint in (("audio_encoder", find(str(folders[audio]))), ("text_encoder", find(str(folders[text])))):
        for target in lora_targets(checkpoint):
            assert any(name.startswith(side) and f".{target}." in name for name in adapters), (side, target)
    assert [name for name, one in adapters.items() if one.grad is None or not one.grad.abs().max() > 0] == []
    assert [name for name, one in of_encoders.items() if name not in adapters and one.requires_grad] == []
    trained, total = count_parameters(settings, find_encoders(settings))
    assert trained == sum(one.numel() for one in network.parameters() if one.requires_grad)
    assert total == sum(one.numel() for one in network.parameters())


def test_the_parameters_of_an_encoder_whose_frames_are_kept_are_counted_too(folders):
    settings = settings_of(folders, "wav2vec2", "bert")
    trained, total = count_parameters(settings, find_encoders(settings))
    network = network_of(settings)
    beside = sum(one.numel() for one in load_encoder(find(str(folders["wav2vec2"])), "cpu", "fp32").parameters())
    known = sum(one.numel() for one in network.parameters())
    assert trained == sum(one.numel() for one in network.parameters() if one.requires_grad)
    assert total - known == pytest.approx(beside, abs=64)  # a convolution stores its weight as direction and length


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("audio", ["frozen", "wav2vec2", "wavlm", "whisper"])
def test_a_prediction_does_not_depend_on_what_stands_beside_it(folders, tmp_path, fusion, audio):
    is_trained = audio != "frozen"
    settings = settings_of(
        folders, audio if is_trained else "wav2vec2", "distilbert", fusion=fusion, audio_encoder="lora" if is_trained else "frozen"
    )
    network, examples = stir(network_of(settings)), examples_of(tmp_path, settings, waveforms=is_trained)
    collator = Collator(waveforms=is_trained)
    alone = predict(network, examples, collator, device=CPU, batch=1)
    together = predict(network, examples, collator, device=CPU, batch=4)
    assert np.ptp(alone) > 1e-3
    np.testing.assert_allclose(together, alone, rtol=2e-5)  # only the order of sums differs

    network.train()  # without dropout, of the encoders too, a training step reads the same
    for module in network.modules():
        for name in ("p", "dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    read = collator(examples)
    np.testing.assert_allclose(network(**read)["logits"].detach().numpy(), alone, rtol=2e-5)


def test_a_clip_without_text_is_read_as_such_whatever_its_tokens_are(folders, tmp_path):
    settings = settings_of(folders, "wav2vec2", "bert")
    network, examples = stir(network_of(settings)), examples_of(tmp_path, settings, waveforms=False)
    assert [example.has_text for example in examples] == [True, True, False, True]
    silent = [replace(examples[1], has_text=False), replace(examples[1], has_text=False, tokens=examples[3].tokens), examples[1]]
    one, other, read = predict(network, silent, Collator(waveforms=False), device=CPU)
    assert one == pytest.approx(other, rel=1e-6)
    assert abs(read - one) > 1e-4


@pytest.mark.parametrize(("audio", "text"), [("none", "describe"), ("frozen", "none")])
def test_one_side_alone_is_a_network_too(folders, tmp_path, audio, text):
    settings = settings_of(folders, "hubert", "roberta", audio_encoder=audio, text=text)
    examples = examples_of(tmp_path, settings_of(folders, "hubert", "roberta"), waveforms=False)
    examples = [
        replace(one, heard=None if audio == "none" else one.heard, tokens=() if text == "none" else one.tokens) for one in examples
    ]
    network = network_of(settings)
    assert np.isfinite(predict(network, examples, Collator(waveforms=False), device=CPU)).all()
    assert (network.audio is None) == (audio == "none")
    assert (network.text is None) == (text == "none")


@pytest.mark.parametrize(("kind", "seconds"), [("wav2vec2", 3.0), ("hubert", 24.0), ("wavlm", 12.0), ("whisper", 34.0)])
def test_an_encoder_with_new_adapters_hears_what_the_frozen_one_does(folders, kind, seconds):
    checkpoint = find(str(folders[kind]))
    y = voice(seconds) if kind == "whisper" else normalise(voice(seconds))
    [expected] = Extractor(checkpoint, device="cpu").frames([y], layer=2)
    settings = settings_of(folders, kind, "bert", audio_encoder="lora", layer=2)
    adapted = AudioEncoder(checkpoint, 2, add_adapters(load_encoder(checkpoint, "cpu", "fp32"), checkpoint, settings)).eval()
    with torch.inference_mode():
        frames, mask = adapted([torch.from_numpy(y), torch.from_numpy(y[: len(y) // 2])])
    assert mask[0].sum() == len(expected) == pytest.approx(50 * seconds, abs=2)
    np.testing.assert_allclose(frames[0, : len(expected)].numpy(), expected, atol=1e-5)


def test_labels_far_from_zero_lose_nothing(folders, tmp_path):
    settings = settings_of(folders, "wav2vec2", "bert", text="none")
    network, read = network_of(settings), None
    for offset in (0.0, 2e9):
        network.labels = Labels(5.0 + offset, 2.0, 1.0, 9.0)
        some = [replace(one, label=one.label + offset, tokens=()) for one in examples_of(tmp_path, settings, waveforms=False)]
        outputs = network(**Collator(waveforms=False)(some))
        found = [outputs["loss"].item(), *(outputs["logits"].detach().numpy() - offset).tolist()]
        read = read or found
    assert found == pytest.approx(read, rel=1e-5)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_no_gradient_is_kept_of_what_comes_before_the_first_adapter(folders, kind):
    checkpoint = find(str(folders[kind]))
    settings = settings_of(folders, kind, "bert", audio_encoder="lora")
    encoder = add_adapters(load_encoder(checkpoint, "cpu", "fp32"), checkpoint, settings).train()
    said = []
    encoder.base_model.model.feature_extractor.register_forward_hook(lambda module, given, gives: said.append(gives))
    frames, _ = AudioEncoder(checkpoint, None, encoder).train()([torch.from_numpy(voice(1.0))])
    assert [one.requires_grad for one in said] == [False]
    assert frames.requires_grad


def test_what_a_frozen_encoder_knows_of_the_spread_of_batches_stays(tmp_path):
    from transformers import HubertConfig, HubertModel

    folder = tiny_encoder("hubert", tmp_path / "hubert")
    config = HubertConfig.from_pretrained(folder, conv_pos_batch_norm=True)
    HubertModel(config).save_pretrained(folder)
    checkpoint = find(str(folder))
    settings = FinetuneSettings(audio_model=str(folder), audio_encoder="lora", text="none")
    encoder = AudioEncoder(checkpoint, None, add_adapters(load_encoder(checkpoint, "cpu", "fp32"), checkpoint, settings))
    before = {name: one.clone() for name, one in encoder.named_buffers()}
    assert any("running_mean" in name for name in before)
    encoder.train()([torch.from_numpy(voice(1.0)), torch.from_numpy(voice(1.0, seed=3))])
    assert encoder.training
    for name, one in encoder.named_buffers():
        assert torch.equal(one, before[name]), name


def test_a_tokenizer_that_adds_nothing_to_an_empty_text_gives_one_token_all_the_same():
    class Bare:
        pad_token_id = 3

        def __call__(self, text, **_):
            return {"input_ids": [len(word) for word in text.split()]}

    checkpoint = Checkpoint("bare", Path(), "0", {"model_type": "bert"}, {})
    assert tokenize(["", "a bc"], Bare(), checkpoint) == [(3,), (1, 2)]


def test_merged_adapters_change_no_prediction(folders, tmp_path):
    settings = settings_of(folders, "wavlm", "distilbert", audio_encoder="lora")
    network, examples = stir(network_of(settings)), examples_of(tmp_path, settings, waveforms=True)
    before = predict(network, examples, Collator(waveforms=True), device=CPU)
    network.text_encoder = network.text_encoder.merge_and_unload()
    network.audio_encoder.encoder = network.audio_encoder.encoder.merge_and_unload()
    assert not any("lora_" in name for name, _ in network.named_parameters())
    np.testing.assert_allclose(predict(network, examples, Collator(waveforms=True), device=CPU), before, rtol=1e-4)


def test_what_is_stored_of_a_network_is_all_that_was_trained(folders, tmp_path):
    settings = settings_of(folders, "whisper", "deberta-v2", audio_encoder="lora")
    network, examples = stir(network_of(settings)), examples_of(tmp_path, settings, waveforms=True)
    expected = predict(network, examples, Collator(waveforms=True), device=CPU)
    save_network(network, tmp_path / "fold0")
    assert {path.name for path in tmp_path.rglob("fold0/*")} == {"heads.safetensors", "audio_adapter", "text_adapter"}
    torch.manual_seed(7)
    other = build_network(settings, replace(LABELS, mean=0.0), find_encoders(settings))
    assert not np.allclose(predict(other, examples, Collator(waveforms=True), device=CPU), expected)
    load_network(other, tmp_path / "fold0", LABELS)
    np.testing.assert_array_equal(predict(other, examples, Collator(waveforms=True), device=CPU), expected)


def test_pooling_takes_the_mean_where_all_steps_score_alike_and_passes_over_what_is_masked():
    pool = AttentionPooling(4)
    torch.nn.init.zeros_(pool.score[2].weight)
    steps = torch.arange(24.0).reshape(2, 3, 4)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    pooled = pool(steps, mask)
    torch.testing.assert_close(pooled, torch.stack([steps[0].mean(dim=0), steps[1, 0]]))


def test_concordance_is_one_for_equal_values_and_falls_with_shift_and_scale(rng):
    x = rng.normal(size=200)
    for y in (x, x + 1.0, 2 * x, -x, rng.normal(size=200)):
        expected = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)  # Lin 1989
        assert float(concordance(torch.from_numpy(x), torch.from_numpy(y))) == pytest.approx(expected, abs=1e-6)


def test_an_architecture_without_known_places_for_adapters_is_refused_by_name(tmp_path):
    unknown = Checkpoint("some/model", tmp_path, "0", {"model_type": "mamba"}, {})
    with pytest.raises(ParameterError, match=r"some/model: model_type='mamba' has no known place for adapters; .*distilbert"):
        lora_targets(unknown)


def test_models_of_the_wrong_kind_are_refused_before_any_work(folders):
    with pytest.raises(ParameterError, match="is no encoder of text"):
        find_encoders(settings_of(folders, "wav2vec2", "hubert"))
    with pytest.raises(ParameterError, match="is no audio encoder"):
        find_encoders(settings_of(folders, "bert", "bert"))
    with pytest.raises(ParameterError, match=r"layer=9: .* has layers 0 to 3"):
        find_encoders(settings_of(folders, "wav2vec2", "bert", layer=9))


def test_batches_have_a_mask_for_all_that_is_padded(tmp_path):
    for place, length in enumerate((3, 5)):
        np.save(tmp_path / f"{place}.npy", np.full((length, 2), 1 + place, np.float16))
    examples = [Example(tmp_path / "0.npy", (4, 5, 6), True, 1.0), Example(tmp_path / "1.npy", (7,), True, 2.0)]
    batch = Collator(waveforms=False, pad_token=9)(examples)
    assert batch["frame_mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert batch["frames"][0, :, 0].tolist() == [1, 1, 1, 0, 0]
    assert batch["input_ids"].tolist() == [[4, 5, 6], [7, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [1.0, 2.0]
    assert "labels" not in Collator(waveforms=False)([replace(examples[0], label=float("nan"))])


def test_whisper_keeps_its_waveforms_as_they_are(folders, tmp_path):
    from core.data.audio import read_clip
    from tests.conftest import write_clip

    clip = write_clip(tmp_path / "a.wav", 0.1 * voice(1.0), sr=16000, subtype="FLOAT")
    heard = prepare_clip(read_clip(clip), find(str(folders["whisper"])))
    assert np.abs(heard).max() < 0.2


def test_a_tokenizer_that_is_a_sentencepiece_model_alone_is_read(folders, tmp_path):  # as that of DeBERTa v3
    import shutil

    import sentencepiece

    folder = tmp_path / "deberta"
    shutil.copytree(folders["deberta-v2"], folder, ignore=shutil.ignore_patterns("tokenizer*"))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"mean pitch {place} hz, no pause in the level" for place in range(200)))
    special = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    special |= {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "spm"), vocab_size=48, minloglevel=2, **special
    )
    settings = FinetuneSettings(text_model=str(folder), audio_encoder="none")
    encoders = find_encoders(settings)
    [example] = make_examples(["mean pitch 12 hz"], [1.0], [None], encoders.text, encoders.tokenizer)
    assert example.tokens[0] == 1
    assert example.tokens[-1] == 2
    assert np.isfinite(predict(network_of(settings), [example], Collator(waveforms=False), device=CPU)).all()
