"""Puts conversations into the store of NARTHEX_HOME, as the server would: a very long one, and one of awkward Markdown.

Prints {"long": id, "markdown": id}. Nothing may have the store open meanwhile but a server.
"""

from __future__ import annotations

import json
import sys
import uuid

from narthex.chat import Message, TextPart
from narthex.chat.events import AgentFinished, AgentStarted, AnswerDelta, AnswerStarted, RunFinished, RunStarted
from narthex.chat.ledger import AgentLedger, Ledger
from narthex.store import Store

NUM_TURNS = 500

AWKWARD = r"""
## Readings

The pressure is $p = \frac{F}{A}$, and

\[ \int_0^1 x^2 \, dx = \frac{1}{3} \]

| gauge | bar |
|---|---|
| C | **33** |

```python
print("a <b>tag</b> in code")
```

![a chart](https://pictures.invalid/spy.png) <img src="https://pictures.invalid/raw.png" onerror="window.wasRun = 1">
<script>window.wasRun = 1</script>

[a link](javascript:window.wasRun=1) [a good link](https://example.org/) <b>bold?</b>

$\href{javascript:window.wasRun=1}{x}$ $\includegraphics{https://pictures.invalid/tex.png}$
$\htmlStyle{position:fixed}{y}$
"""


def said(role: str, text: str) -> Message:
    return Message(role=role, parts=(TextPart(text=text),))  # type: ignore[arg-type]


def put(store: Store, home: str, question: str, answer: str) -> None:
    run_id, agent = uuid.uuid4().hex, {"agent_id": "agent-0"}
    mine = AgentLedger(agent_id="agent-0", turns=1, prompt_tokens=60, answer_tokens=9, seconds=0.2)
    ledger = Ledger.total([mine], seconds=0.2)
    at = [{"run_id": run_id, "seq": seq, "t": seq / 20} for seq in range(6)]
    for event in (
        RunStarted(**at[0], mode="instant", model="narthex-nano", question=question),
        AgentStarted(**at[1], **agent), AnswerStarted(**at[2], **agent), AnswerDelta(**at[3], **agent, text=answer),
        AgentFinished(**at[4], **agent, answer=answer, ledger=mine), RunFinished(**at[5], answer=answer, ledger=ledger),
    ):  # fmt: skip
        store.append(event)
    store.flush()
    settings = {"mode": "instant", "model": "narthex-nano"}
    turn = store.conversations.begin_turn(home, [said("user", question)], run_id=run_id, settings=settings)
    store.conversations.finish_turn(turn, [said("assistant", answer)])


def main() -> None:
    with Store.open() as store:
        homes = {name: store.conversations.create(name) for name in ("long", "markdown")}
        put(store, homes["markdown"], "Show me.", AWKWARD)
        for number in range(NUM_TURNS):
            answer = f"Answer {number}. " + "It reads **33 bar**, as it did before. " * (1 + number % 7)
            put(store, homes["long"], f"Question {number}: what does gauge C read?", answer + "\n\n- one\n- two\n")
    json.dump(homes, sys.stdout)


if __name__ == "__main__":
    main()
