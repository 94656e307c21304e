#!/usr/bin/env bash
# Prints charts/aws-iam-authenticator/README.md: what stands before its marker, and a table made of the comments of values.yaml.
#   tools/chart-readme.sh > README.md.new
set -euo pipefail
cd "$(dirname "$0")/../charts/aws-iam-authenticator"

sed '/<!-- values -->/q' README.md
echo
echo '| value | default | meaning |'
echo '| --- | --- | --- |'
awk '
  # The comment right above a key is its meaning; a key without one is a group of others.
  /^$/ { comment = ""; next }
  /^ *#/ { line = $0; sub(/^ *# ?/, "", line); comment = (comment == "" ? line : comment " " line); next }
  /^ *[A-Za-z_]+:/ {
    indent = match($0, /[^ ]/) - 1; depth = indent / 2
    key = $1; sub(/:$/, "", key)
    value = $0; sub(/^ *[A-Za-z_]+: */, "", value)
    path[depth] = key; name = path[0]
    for (i = 1; i <= depth; i++) name = name "." path[i]
    if (comment != "") {
      gsub(/\|/, "\\|", comment)
      printf "| `%s` | %s | %s |\n", name, (value == "" ? "see values.yaml" : "`" value "`"), comment
    }
    comment = ""
  }
' values.yaml
