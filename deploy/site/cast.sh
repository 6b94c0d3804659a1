#!/usr/bin/env bash
# Records docs/cast.svg: a real terminal in which the commands below run, from an empty home, on the demo model. Needs
# `claude` and `termtosvg` (pip install termtosvg setuptools) on the PATH, and nothing at port 8080.
#
#     deploy/site/cast.sh [FILE]
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${1:-}" = --inside ]; then
    type_out() {  # a command, letter by letter, and what it prints
        printf '\e[32m$\e[0m '
        for ((i = 0; i < ${#1}; i++)); do printf '%s' "${1:i:1}"; sleep 0.03; done
        echo
        eval "$1"
        sleep "${2:-2}"
    }
    cd "$HOME"
    type_out 'dragoman models' 1
    type_out 'dragoman explain claude-sonnet-4-6' 3
    type_out 'dragoman run claude -p "What can you do?"' 3
    type_out 'curl -s localhost:8080/v1/responses -H content-type:application/json -d '"'"'{"model": "gpt-5", "input": "Hello"}'"'"' | head -c 300; echo' 3
    type_out 'dragoman usage --by client' 5
    exit
fi
home=$(mktemp -d)
bin=$PWD/.venv/bin
export HOME=$home PATH="$bin:$PATH" TERM=xterm-256color
trap 'kill %1 2>/dev/null; rm -rf "$home"' EXIT
dragoman serve > "$home/log" 2>&1 &
until curl -sf 127.0.0.1:8080/health > /dev/null; do sleep 0.1; done
termtosvg "${1:-docs/cast.svg}" -g 100x30 -t window_frame -m 60 -M 3000 -D 3000 -c "bash $PWD/deploy/site/cast.sh --inside"
