"""The tokenizer, the chat format, and the way back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer

from narthex.base.errors import ConfigError, InputError, WeightsError
from narthex.chat import ImagePart, Message, TextPart, ToolCall, ToolSpec
from narthex.tokens import ChatFormat, train_tokenizer, write_nano_folder
from narthex.tokens.special import SPECIAL_TOKENS
from narthex.tokens.tokenizer import TextTokenizer

TEXTS = [
    "What does gauge C read?",
    '{"name": "zoom", "parameters": {"box": [1, 2, 3, 4], "image": 0}}',
    "The pressure of the pump is 12.5 bar.",
] * 20
PICTURE = Image.fromarray(np.arange(96 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(80, 96, 3))
UNICODE = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("nano")
    write_nano_folder(path, train_tokenizer(TEXTS, vocab_size=420))
    return path


@pytest.fixture(scope="module")
def chat(folder):
    return ChatFormat.open(folder)


def part() -> ImagePart:
    return ImagePart(sha256="0" * 64, media_type="image/png", width=96, height=80)


def rendered(chat, messages, **options):
    options = {"thinking": True, "load_image": lambda _: PICTURE, **options}
    return chat.render(messages, **options)


def parsed(chat, ids, *, thinking):
    """The reply in `ids`, checked to be what its deltas add up to."""
    parser = chat.reply_parser(thinking=thinking, new_call_id=lambda i: f"c{i}")
    deltas = [delta for id_ in ids for delta in parser.feed(id_)] + parser.drain()
    reply = parser.finish()
    assert reply.thought == "".join(d.text for d in deltas if d.kind == "thought")
    assert reply.text == "".join(d.text for d in deltas if d.kind == "text")
    assert reply.calls == tuple(d.call for d in deltas if d.kind == "call")
    return reply


def test_the_vocabulary_is_cut_as_training_needs_it(chat):
    def pieces(text):
        return [chat.decode([id_]) for id_ in chat.encode(text)]

    assert pieces("AB12") == ["A", "B", "1", "2"]
    assert pieces('{"name": "zoom", "parameters"') == ['{"', "name", '": "', "zoom", '", "', "parameters", '"']
    assert pieces(" gauge C") == [" gauge", " ", "C"]


def test_special_tokens_are_the_end_of_the_vocabulary(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    assert [tokenizer.token_to_id(name) for name in SPECIAL_TOKENS] == list(range(size - len(SPECIAL_TOKENS), size))
    with pytest.raises(ValueError, match="at least"):
        train_tokenizer(TEXTS, vocab_size=200)
    with pytest.raises(ValueError, match="multiple"):
        write_nano_folder(folder / "x", tokenizer, tile_size=60)


@settings(deadline=None)
@given(text=UNICODE | st.lists(st.sampled_from(SPECIAL_TOKENS), max_size=3).map("a".join))
def test_any_text_survives_and_names_no_control_token(chat, text):
    ids = chat.encode(text)
    assert chat.decode(ids) == text
    assert not set(ids) & set(chat.tokenizer.special_ids.values())


def test_the_whole_format_is_as_written_down(chat):
    zoom = ToolSpec(name="zoom", parameters={"type": "object", "properties": {"box": {}, "image": {}}})
    call = ToolCall(id="1", name="zoom", arguments={"image": 0, "box": [1, 2, 3, 4]})
    messages = [
        Message.of("system", "Be brief."),
        Message.of("user", "Old?"),
        Message(role="assistant", thought="forgotten", parts=(TextPart(text="Yes."),)),
        Message(role="user", parts=(part(), TextPart(text="What does C read?"))),
        Message(role="assistant", thought="top", parts=(TextPart(text="Look."),), calls=(call, call)),
        Message(role="tool", call_id="1", parts=(TextPart(text="picture 1"), part())),
    ]
    prompt = rendered(chat, messages, tools=[zoom])
    view = "<|image_start|><|image|>" + "<|patch|>" * 16 + "<|image_end|>"
    line = '{"name": "zoom", "parameters": {"image": 0, "box": [1, 2, 3, 4]}}'
    assert chat.decode(prompt.ids) == (
        "<|begin_of_text|><|header_start|>system<|header_end|>\n\nBe brief.\n\nTools:\nzoom(box, image)<|eot|>"
        "<|header_start|>user<|header_end|>\n\nOld?<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\n<|reasoning_thinking_start|><|reasoning_thinking_end|>Yes.<|eot|>"
        f"<|header_start|>user<|header_end|>\n\nWhat does C read?{view}<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\n<|reasoning_thinking_start|>top<|reasoning_thinking_end|>"
        f"Look.\n{line}\n{line}<|eot|>"
        f"<|header_start|>ipython<|header_end|>\n\npicture 1{view}<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\n<|reasoning_thinking_start|>"
    )
    assert prompt.tiles.shape == (2, 3, 64, 64) and prompt.tiles.dtype == np.float32
    instant = rendered(chat, messages, tools=[zoom], thinking=False)
    assert instant.ids == [*prompt.ids, chat.thought_end_id]
    assert chat.close_ids == (chat.thought_end_id,)
    assert rendered(chat, messages[:2]).tiles.shape == (0, 3, 64, 64)


@settings(deadline=None, max_examples=200)
@given(
    # Text of white space alone, or that begins a line as a call does, is not told from what surrounds a call.
    text=UNICODE.filter(lambda text: (not text or text.strip()) and '{"' not in text),
    thought=UNICODE,
    arguments=st.lists(st.dictionaries(UNICODE, UNICODE | st.integers(-9, 9), max_size=2), max_size=3),
)
def test_a_reply_comes_back_as_it_was_said(chat, text, thought, arguments):
    calls = tuple(ToolCall(id=f"c{i}", name="zoom", arguments=values) for i, values in enumerate(arguments))
    said = Message(role="assistant", thought=thought, parts=(TextPart(text=text),), calls=calls)
    question = [Message.of("user", "?")]
    before = rendered(chat, question).ids
    whole = rendered(chat, [*question, said], generate=False).ids
    assert whole[: len(before)] == before
    reply = parsed(chat, whole[len(before) :], thinking=True)
    assert (reply.thought, reply.text, reply.mistakes) == (thought, text, ())
    assert [(call.name, call.arguments) for call in reply.calls] == [(call.name, call.arguments) for call in calls]


@settings(deadline=None)
@given(text=st.lists(st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "eot", "x", " "]), max_size=5).map("".join))
def test_no_message_can_forge_the_format(chat, text):
    """Whoever writes control tokens into text, names or arguments changes no control token of the prompt."""

    def control(text):
        call = ToolCall(id=text, name=text, arguments={text: [text]})
        tool = ToolSpec(name="t", description=text, parameters={"properties": {text: {}}})
        messages = [
            Message(role="user", parts=(TextPart(text=text), TextPart(text=text), part())),
            Message(role="assistant", thought=text, parts=(TextPart(text=text),), calls=(call,)),
            Message(role="tool", call_id=text, parts=(TextPart(text=text),)),
        ]
        ids = rendered(chat, messages, tools=[tool]).ids
        return [id_ for id_ in ids if chat.tokenizer.name(id_)]

    assert control(text) == control("harmless")


def test_a_character_of_several_bytes_is_never_shown_in_halves(chat):
    ids = chat.encode("日😀é")
    assert len(ids) > 6  # bytes, because training never saw them
    parser = chat.reply_parser(thinking=False)
    shown = ["".join(delta.text for delta in parser.feed(id_)) for id_ in ids]
    assert "".join(shown) == "日😀é" and not any("\ufffd" in text for text in shown)
    cut = parsed(chat, ids[:1], thinking=False)
    assert cut.text == "\ufffd"


def test_mistakes_in_calls_are_told(chat):
    reply = parsed(chat, chat.encode('So.\n{"name": "zoom", "parameters": {"box": [1,]}}'), thinking=False)
    assert reply.text == "So." and not reply.calls
    assert len(reply.mistakes) == 1 and "not JSON" in reply.mistakes[0]


def test_without_tools_an_answer_in_json_is_text(chat):
    source = '{"name": "f", "parameters": {}}'
    parser = chat.reply_parser(thinking=False, tools=False)
    assert "".join(delta.text for id_ in chat.encode(source) for delta in parser.feed(id_)) == source


def foreign(folder, tmp_path, template, **files):
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    (tmp_path / "chat_template.jinja").write_text(template)
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path


PLAIN = (
    "{% for m in messages %}<|header_start|>{{ m.role }}<|header_end|>{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}{{ '<|image|>' if p.type == 'image' else p.text }}{% endfor %}{% endif %}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)


@pytest.mark.parametrize("is_control", [False, True])
@pytest.mark.parametrize("thinking", [False, True])
def test_thought_in_tags_is_told_from_the_answer(folder, tmp_path, is_control, thinking):
    path = foreign(folder, tmp_path, PLAIN)
    if is_control:
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        tokenizer.add_tokens(["<think>", "</think>"])
        tokenizer.save(str(path / "tokenizer.json"))
    chat = ChatFormat.open(path, thought="think_tags")
    source = "Hm <b>\n so.\n</think>\n\nIt is <5>.\n" + '{"name": "f", "arguments": {}}'
    ids = [
        id_
        for piece in (source if thinking else "<think>\n" + source).replace("think>", "think>\0").split("\0")
        for head, mark, _ in [piece.partition("<think>") if "</think>" not in piece else piece.partition("</think>")]
        for id_ in chat.encode(head)
        + ([chat.tokenizer.special_ids[mark]] if is_control and mark else chat.encode(mark))
    ]
    reply = parsed(chat, ids, thinking=thinking)
    assert (reply.thought, reply.text) == ("Hm <b>\n so.", "It is <5>.")
    assert [call.name for call in reply.calls] == ["f"]
    assert chat.decode(chat.close_ids) == "\n</think>\n\n"
    assert (chat.thought_end_id is None) != is_control
    assert parsed(chat, chat.encode("No thought."), thinking=False).text == "No thought."
    assert parsed(chat, chat.encode("</thi") if thinking else [], thinking=thinking).thought == (
        "</thi" if thinking else ""
    )


def test_foreign_templates_get_tool_pictures_in_a_message_after(folder, tmp_path):
    chat = ChatFormat.open(foreign(folder, tmp_path, PLAIN))
    call = ToolCall(id="1", name="zoom")
    messages = [
        Message.of("user", "Q", part()),
        Message(role="assistant", calls=(call,)),
        Message(role="tool", call_id="1", parts=(TextPart(text="a"), part())),
        Message(role="tool", call_id="1", parts=(TextPart(text="b"), part())),
        Message.of("assistant", "A"),
    ]
    text = chat.decode(rendered(chat, messages, generate=False).ids).replace("<|patch|>", "")
    view = "<|image_start|><|image|><|image_end|>"
    assert (
        f"tool<|header_end|>b<|eot|><|header_start|>user<|header_end|>{view}{view}<|eot|><|header_start|>assistant"
        in text
    )


def test_pictures_that_the_template_drops_are_not_dropped_in_silence(folder, tmp_path):
    chat = ChatFormat.open(foreign(folder, tmp_path, "{{ messages[0].content[0].text }}"))
    with pytest.raises(InputError, match="0 of 1 pictures"):
        rendered(chat, [Message.of("user", "Q", part())])
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="cannot see"):
        rendered(ChatFormat.open(tmp_path), [Message.of("user", "Q", part())])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tokenizer": "{"}, "no tokenizer"),
        ({"tokenizer_config": "[]"}, "JSON object"),
        ({"config": "nonsense"}, "not JSON"),
        ({"config": {"image_token_index": 7}}, "image_token_index 7"),
        ({"config": {"vision_config": {"image_size": 336}}}, "336"),
        ({"preprocessor_config": {"image_processor_type": "Qwen2VLImageProcessor"}}, "Qwen2VL"),
    ],
)
def test_folders_that_contradict_themselves_are_refused(folder, tmp_path, files, words):
    with pytest.raises(WeightsError, match=words) as caught:
        ChatFormat.open(foreign(folder, tmp_path, PLAIN, **files))
    assert caught.value.hint


def test_unknown_names_are_refused_with_the_nearest(folder):
    with pytest.raises(ConfigError) as caught:
        ChatFormat.open(folder, thought="think_tag")
    assert "think_tags" in str(caught.value.hint)
    with pytest.raises(ConfigError):
        ChatFormat.open(folder, calls=["jsno"])
    with pytest.raises(WeightsError, match=r"no tokenizer\.json"):
        ChatFormat.open(folder / "nowhere")


def test_every_source_of_stop_ids_is_heard(folder, tmp_path):
    chat = ChatFormat.open(
        foreign(folder, tmp_path, PLAIN, generation_config={"eos_token_id": [3, 4]}, config={"eos_token_id": 5})
    )
    names = {chat.tokenizer.name(id_) for id_ in chat.stop_ids}
    assert {3, 4, 5} <= set(chat.stop_ids) and {"<|eot|>", "<|eom|>", "<|end_of_text|>"} <= names


def test_other_vocabularies_stream_whole_characters():
    """A vocabulary in SentencePiece's manner: words with a mark for spaces, bytes for what it does not know."""
    vocab = {"<unk>": 0, "▁It": 1, "▁is": 2, "▁": 3, **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)}}
    flags = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    definition = {
        "version": "1.0",
        "added_tokens": [{"id": 400, "content": "<end>", **flags}],
        "normalizer": None,
        "pre_tokenizer": metaspace,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": True, "unk_token": "<unk>"},
    }
    from narthex.tokens.reply import TextStream

    tokenizer = TextTokenizer(definition)
    stream = TextStream(tokenizer)
    shown = [stream.push(id_) for id_ in (1, 2, 3, *(4 + byte for byte in "日é".encode()))]
    assert [*shown, stream.flush()] == ["It", " is", " ", "", "", "日", "", "é", ""]
    assert tokenizer.name(400) == "<end>" and tokenizer.decode([1, 400, 2]) == "It<end>is"


def test_added_words_that_are_no_control_tokens_stay_words(folder):
    definition = json.loads((folder / "tokenizer.json").read_text())
    size = 1 + max(entry["id"] for entry in definition["added_tokens"])
    for id_, content in ((size + 7, "        "), (size + 3, "<tool_call>")):
        flags = {"special": False, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        definition["added_tokens"].append({"id": id_, "content": content, **flags})
    tokenizer = TextTokenizer(definition)
    ids = tokenizer.encode("a        b<tool_call>")
    assert size + 7 in ids and size + 3 not in ids
    assert tokenizer.decode(ids) == "a        b<tool_call>"
    assert tokenizer.name(size + 3) == "<tool_call>"
