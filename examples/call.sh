#!/bin/sh
# Calls from the shell: `examples/call.sh [URL]`, in the repository's folder. It needs curl and Python.
set -eu
url=${1:-http://localhost:8000}
images=tests/assets

value_of() {  # print a member of the JSON object on stdin
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# One image
curl -sSf -F data=@$images/star.png "$url/caption/" | value_of caption

# With generation settings
curl -sSf -F data=@$images/star.png -F config='{"num_beams": 4, "num_return_sequences": 2}' "$url/caption/" | value_of results

# A resized image
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
curl -sSf -F data=@$images/star.png -o "$folder/small.png" -w '%{content_type}\n' "$url/cv_model/?h=28&w=40"

# A job: submit it, follow its events until it has ended, read the results
job=$(curl -sSf -F data=@$images/star.png -F data=@$images/circle_and_diamond.png "$url/caption_jobs/" | value_of id)
curl -sSfN "$url/caption_jobs/$job/events" > "$folder/events"
curl -sSf "$url/caption_jobs/$job/results?format=csv"

# An error names the field
curl -sS -F data=@$images/star.png -F config='{"num_beams": 0}' "$url/caption/" | value_of errors
