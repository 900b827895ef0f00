"""Floor 7: Narthex over HTTP, in the shapes that clients of OpenAI's API know.

    gate         the one middleware: request ids, who may come in, sizes, and a reply to whatever goes wrong
    routes       what answers under which path
    bodies       what comes in: bounded, read, checked; each field with what becomes of it
    messages, thinking, asked   a body becomes a conversation, a mode and a budget
    line         the model as one run sees it: stop strings, and answers held to their form
    runs         the run, kept in the store before anybody sees it, ended when its client leaves
    replies, completions        its events become one object, or a stream of chunks
"""

from __future__ import annotations

from narthex.serve.app import create_app
from narthex.serve.server import listen, serve
from narthex.serve.service import Service

__all__ = ["Service", "create_app", "listen", "serve"]
