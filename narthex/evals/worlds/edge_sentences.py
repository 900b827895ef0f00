"""The honest sentences of narthex-nano, in each of its languages: what it reads, and how to connect a larger model."""

from __future__ import annotations

import re

LANGUAGES = ("en", "ru", "uk", "pt", "zh")

_COMMAND = "`narthex ask -m FOLDER`"
# To what nano cannot do at all.
DECLINES = {
    "en": "I only read panels, charts, tables, dials, shapes, forms and routes on pictures, and do small sums; "
          f"for more, connect a larger model: {_COMMAND}.",
    "ru": "Я читаю на картинках только панели, графики, таблицы, приборы, фигуры, бланки и маршруты и решаю простые "
          f"задачи на счёт; для остального подключите модель побольше: {_COMMAND}.",
    "uk": "Я читаю на картинках лише панелі, графіки, таблиці, прилади, фігури, бланки й маршрути та розв'язую прості "
          f"задачі на лічбу; для решти під'єднайте більшу модель: {_COMMAND}.",
    "pt": "Só leio painéis, gráficos, tabelas, mostradores, formas, formulários e rotas em imagens e faço contas "
          f"simples; para o resto, conecte um modelo maior: {_COMMAND}.",
    "zh": "我只会看图片里的面板、图表、表格、仪表、图形、表单和路线，也会做简单算术；"
          f"其他问题请连接更大的模型：{_COMMAND}。",
}  # fmt: skip
# To a question about a picture that comes without one.
NEED_PICTURES = {
    "en": "I need a picture (`--image FILE`) of panels, charts, tables, dials, shapes, forms or routes; "
          f"for more, connect a larger model: {_COMMAND}.",
    "ru": "Нужна картинка (`--image FILE`): я читаю панели, графики, таблицы, приборы, фигуры, бланки и маршруты; "
          f"для остального подключите модель побольше: {_COMMAND}.",
    "uk": "Потрібна картинка (`--image FILE`): я читаю панелі, графіки, таблиці, прилади, фігури, бланки й маршрути; "
          f"для решти під'єднайте більшу модель: {_COMMAND}.",
    "pt": "Preciso de uma imagem (`--image FILE`): leio painéis, gráficos, tabelas, mostradores, formas, formulários e "
          f"rotas; para o resto, conecte um modelo maior: {_COMMAND}.",
    "zh": "请附上图片（`--image FILE`）：我会看面板、图表、表格、仪表、图形、表单和路线；"
          f"其他问题请连接更大的模型：{_COMMAND}。",
}  # fmt: skip
# What narthex-nano v0 says, which read panels alone.
_EARLIER = (
    f"I only read gauges on pictures of instrument panels; for anything else, connect a larger model: {_COMMAND}.",
    "I need a picture of an instrument panel (`--image FILE`); for anything else, connect a larger model: "
    f"{_COMMAND}.",
)  # fmt: skip
_NOT_WORDS = re.compile(r"[\W_]+")


def _normal(text: str) -> str:
    return _NOT_WORDS.sub(" ", text.casefold()).strip()


_LANGUAGE_OF = {_normal(sentence): "en" for sentence in _EARLIER} | {
    _normal(sentence): language for found in (DECLINES, NEED_PICTURES) for language, sentence in found.items()
}


def language_of_decline(answer: str) -> str | None:
    """The language of a known refusal, None for any other text; letter case, punctuation and spacing do not count."""
    return _LANGUAGE_OF.get(_normal(answer))


def is_decline(answer: str) -> bool:
    """Say whether an answer is one of the known refusals, in any language."""
    return language_of_decline(answer) is not None
