#!/usr/bin/env bash
# narthex-nano v0, from nothing to figures: vocabulary, training, evaluation. Every stage is one line below.
#
#   recipes/panels.sh            on two cores, in legs: run it again until it says that the stage is done
#   recipes/panels.sh --smoke    all stages, a minute or two, a model that knows nothing
#   OUT=folder                   where it works, instead of runs/panels
#
# A leg goes on from its last checkpoint in runs/panels. On another machine it begins with the committed weights:
#   START_FROM=narthex/models/narthex-nano recipes/panels.sh
# With an NVIDIA GPU the same lines use it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${OUT:-runs/panels} samples=440000 items=8000 minutes=115 limit=500 more=()
if [[ ${1:-} == --smoke ]]; then
    out=${OUT:-runs/smoke} samples=1280 items=150 minutes=3 limit=8 more=(--smoke)
    rm -rf "$out" # a smoke test begins from nothing
fi
if [[ -n ${START_FROM:-} ]]; then # its vocabulary comes with it, and finding needs no stage of its own any more
    more+=(--start-from "$START_FROM" --start-sample 128000 --rate 6e-4)
    mkdir -p "$out/chat"
    cp "$START_FROM"/{tokenizer,tokenizer_config,special_tokens_map,preprocessor_config,processor_config}.json \
        "$START_FROM"/chat_template.jinja "$out/chat"
fi

# 1. The vocabulary: 2,048 entries, learned from the worlds' own questions and replies.
[[ -f $out/chat/tokenizer.json ]] || $python -m narthex.train tokenizer "$out/chat" --items "$items"

# 2. Read crops, then find readouts, then whole traces; rates, shares and stages stand in narthex/train.
nice -n 19 $python -m narthex.train panels "$out" --chat "$out/chat" --samples "$samples" --minutes "$minutes" \
    --threads "${THREADS:-1}" "${more[@]}"

# 3. What it can do, on seeds and readings it has never seen.
$python -m narthex.cli eval worlds.panels -m "$out/model" --mode instant,thinking --limit "$limit" --seed 2 --json
$python -m narthex.cli eval worlds.edge -m "$out/model" --mode instant,thinking --limit "$limit" --seed 2 --json
