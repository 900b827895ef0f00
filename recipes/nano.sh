#!/usr/bin/env bash
# narthex-nano, from nothing to figures: vocabulary, demonstrations, reinforcement, evaluation, report.
#
#   recipes/nano.sh             on two cores, in legs of at most two hours: run it again until it says that it is done
#   recipes/nano.sh --smoke     all stages within four minutes, a model that knows what it is not for, and little else
#   OUT=folder                  where it works, instead of runs/nano
#
# A leg goes on from the last checkpoint in $OUT. On another machine it begins with the committed weights:
#   START_FROM=narthex/models/narthex-nano recipes/nano.sh         trained on by demonstrations, then by reinforcement
#   START_FROM=narthex/models/narthex-nano recipes/nano.sh --rl    by reinforcement at once
# With an NVIDIA GPU the same lines use it; SIZE=mini is the larger model for half an hour there. See docs/recipe.md.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${OUT:-runs/nano} threads=${THREADS:-1} seed=${SEED:-1} size=${SIZE:-nano} first=${1:-}
items=400 samples=500000 rollouts=60000 minutes=${MINUTES:-115} limit=400 scope=512 supervised=() rl=() tokenizer=()
if [[ $first == --smoke ]]; then
    out=${OUT:-runs/smoke} items=60 samples=6400 rollouts=96 minutes=30 limit=16 scope=128
    tokenizer=(--tile-size 48) supervised=(--smoke) rl=(--smoke --groups 6 --group-size 4)
    rm -rf "$out" # a smoke test begins from nothing
fi
if [[ -n ${START_FROM:-} ]]; then # its vocabulary comes with it, and finding needs no stage of its own any more
    supervised+=(--start-from "$START_FROM" --start-sample 128000 --rate 6e-4)
    mkdir -p "$out/chat"
    cp "$START_FROM"/{tokenizer,tokenizer_config,special_tokens_map,preprocessor_config,processor_config}.json \
        "$START_FROM"/chat_template.jinja "$out/chat"
fi
unfinished="the leg is over, the stage is not: run this again"
# Whether a stage has seen all that it was to see: is_done FOLDER sample|rollout
is_done() {
    $python -c 'import json, sys
p = json.load(open(sys.argv[1] + "/progress.json"))
sys.exit(p[sys.argv[2]] < p["settings"][sys.argv[2] + "s"])' "$1" "$2"
}

# 1. The vocabulary: 2,048 entries, learned from the worlds' own questions and replies.
[[ -f $out/chat/tokenizer.json ]] ||
    $python -m narthex.train tokenizer "$out/chat" --items "$items" --seed "$seed" "${tokenizer[@]}"

# 2. Demonstrations: read crops, then find, then whole traces of all worlds. Rates, shares and stages stand in
#    narthex/train (curriculum.py, loop.py).
if [[ $first == --rl ]]; then
    start=${START_FROM:-$out/model}
else
    nice -n 19 $python -m narthex.train supervised "$out" --chat "$out/chat" --samples "$samples" \
        --minutes "$minutes" --threads "$threads" --seed "$seed" --size "$size" "${supervised[@]}"
    is_done "$out" sample || { echo "$unfinished"; exit 0; }
    start=$out/model
fi

# 3. Reinforcement: answer, be checked, learn what was better, in ever fewer words (rl.py, policy.py).
nice -n 19 $python -m narthex.train rl "$out/rl" --start-from "$start" --rollouts "$rollouts" --minutes "$minutes" \
    --threads "$threads" --seed "$seed" "${rl[@]}"
is_done "$out/rl" rollout || { echo "$unfinished"; exit 0; }

# 4. What it can do, on seeds that it has never seen; 5. its curves.
measure() {
    $python -m narthex.cli eval "$1" -m "$out/rl/model" --mode "$2" --limit "$3" --seed 2 --json \
        --html "$out/$1.html" | tee "$out/$1.json"
}
if [[ $first == --smoke ]]; then
    measure worlds instant,thinking "$limit"
else
    measure worlds instant,thinking,contemplating "$limit"
fi
measure worlds.scope instant "$scope"
$python -m narthex.train report "$out"
if [[ $first == --smoke ]]; then # what can be learned in a minute, measured against chance
    $python -m narthex.train verdict "$out/worlds.scope.json"
fi
echo "done: the model is $out/rl/model, its curves are $out/report.html"
