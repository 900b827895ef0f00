"""Floor 7: Narthex over HTTP, in the shapes that clients of OpenAI's API know.

    gate, callers               the one middleware: who may come in, sizes, and a reply to whatever goes wrong
    routes                      what answers under which path
    belongings                  whatever is asked for by id: what is not the caller's is not there
    bodies, wire                what comes in: bounded, read, checked; each field with what becomes of it
    messages, thinking, asked   a body becomes a conversation, a mode and a budget
    line                        the model as one run sees it: stop strings, forms, forced calls, chances of tokens
    watch, quotas, metrics      what is spent, and the line of each run
    runs, live                  the run: in the store before anybody sees it, ended when its client leaves, or going on
    replies, completions        its events become one object, or a stream of chunks
    response_*, telling, responses   the same in the shapes of /v1/responses
    conversations, turns, run_routes, files   what the page asks: a tree of turns, and what happens in their runs
"""

from __future__ import annotations

from narthex.serve.app import create_app
from narthex.serve.server import listen, serve
from narthex.serve.service import Service

__all__ = ["Service", "create_app", "listen", "serve"]
