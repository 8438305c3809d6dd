#!/bin/sh
# check_style.sh - the rules of docs/STYLE.md that neither clang-format nor clang-tidy knows:
# layers, banned calls, sizes, links, man pages, and that the public header stands alone.
# Prints one line for each breach; exit status 1 if there is any. A line may break the rule
# about banned calls if it says why: /* style-allow: reason */.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/mob-style.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
lines_max=1000

# sources PATTERN...: the files of the tree with such names, one a line.
sources()
{
    expression=
    for pattern in "$@"; do
        expression="$expression -o -name $pattern"
    done
    set -f # the patterns are find's
    # shellcheck disable=SC2086 # words on purpose
    find . \( -name .git -o -path ./build -o -path './build-*' \) -prune -o -type f \
        \( -false $expression \) -print | sed 's|^\./||' | sort
    set +f
}

# In C files: layers, banned calls, names of temporary files. Comments are taken out first, and
# strings for the calls, with the state of a comment kept from line to line.
check_code()
{
    awk '
    function say(text) { printf "%s:%d: %s\n", FILENAME, FNR, text }

    function layer_of(path,    parts, n) {
        n = split(path, parts, "/")
        if (n > 1 && parts[1] in sees) return parts[1]
        if (n > 2 && parts[1] == "tests" && parts[2] in sees) return parts[2]
        return ""
    }

    # The line without comments; unless @keep, strings become "".
    function code(line, keep,    out, c, two, quote) {
        out = ""
        quote = ""
        while (line != "") {
            c = substr(line, 1, 1)
            two = substr(line, 1, 2)
            if (in_comment) {
                if (two == "*/") { in_comment = 0; line = substr(line, 3); out = out " " }
                else line = substr(line, 2)
            } else if (quote != "") {
                if (c == "\\") { if (keep) out = out two; line = substr(line, 3); continue }
                if (keep || c == quote) out = out c
                if (c == quote) quote = ""
                line = substr(line, 2)
            } else if (two == "/*") { in_comment = 1; line = substr(line, 3) }
            else if (two == "//") break
            else {
                if (c == "\"" || c == "\047") quote = c
                out = out c
                line = substr(line, 2)
            }
        }
        return out
    }

    BEGIN {
        sees["core"] = " core "
        sees["store"] = " core store "
        sees["transport"] = " core transport "
        sees["scheduler"] = " core scheduler "
        sees["runtime"] = " core store transport scheduler runtime "
        banned = "(strcpy|strcat|sprintf|vsprintf|gets|system|tmpnam|mktemp|alloca)"
    }
    FNR == 1 { in_comment = 0; layer = layer_of(FILENAME); test = FILENAME ~ /^tests\// }
    /[ \t]$/ { say("white space at the end of the line") }
    {
        before = in_comment
        with_strings = code($0, 1)
        in_comment = before
        bare = code($0, 0)
    }
    with_strings ~ /^[ \t]*#[ \t]*include/ {
        target = with_strings
        if (target ~ /\.\.\//) say("an #include with ../")
        if (FILENAME ~ /^examples\// && target ~ /"/)
            say("an example includes the public header and the system alone")
        gsub(/^[^"<]*["<]|[">].*$/, "", target)
        split(target, parts, "/")
        if (layer != "" && target ~ /\// && parts[1] in sees && index(sees[layer], " " parts[1] " ") == 0)
            say(layer " must not see " parts[1] ": #include \"" target "\"")
        next
    }
    $0 !~ /style-allow: ./ {
        if (match(bare, "(^|[^A-Za-z0-9_.>])" banned "[ \t]*\\("))
            say("a banned call: " substr(bare, RSTART, RLENGTH))
        if (test && match(bare, "(^|[^A-Za-z0-9_.>])u?sleep[ \t]*\\("))
            say("sleeping is not a way to wait: " substr(bare, RSTART, RLENGTH))
        if (match(with_strings, /"\/(tmp|var\/tmp|dev\/shm)\/[^"]*/) &&
            substr(with_strings, RSTART, RLENGTH) !~ /^"\/[a-z\/]*\/mob/)
            say("a temporary name begins with mob, so that the leftover check knows it")
    }' "$@"
}

check_sizes()
{
    sources '*.c' '*.h' '*.cc' '*.sh' '*.cmake' CMakeLists.txt | while read -r file; do
        lines=$(wc -l <"$file")
        if [ "$lines" -gt "$lines_max" ]; then
            echo "$file:1: $lines lines; $lines_max are the most"
        fi
    done
}

# A [text](target) with a target in this tree must lead to something.
check_links()
{
    sources '*.md' | while read -r file; do
        awk '/^```/ { fenced = !fenced; next } !fenced {
            line = $0
            gsub(/`[^`]*`/, "", line)
            while (match(line, /\]\([^) ]+/)) {
                print FNR " " substr(line, RSTART + 2, RLENGTH - 2)
                line = substr(line, RSTART + RLENGTH)
            }
        }' "$file" | while read -r number target; do
            case $target in
            *://* | mailto:* | '#'*) continue ;;
            /*) path=.${target%%#*} ;;
            *) path=$(dirname "$file")/${target%%#*} ;;
            esac
            [ -e "$path" ] || echo "$file:$number: a link to nothing: $target"
        done
    done
}

# A program is a file of tools/ with a main(); mobula_cli.c makes the program mobula.
check_man_pages()
{
    sources '*.c' | grep '^tools/' | xargs -r grep -lE '^int main\(' | while read -r file; do
        name=$(basename "$file" .c)
        name=${name%_cli}
        if [ "$name" = main ]; then
            name=$(basename "$(dirname "$file")")
        fi
        if [ -z "$(find tools docs -name "$name.[1-8]")" ]; then
            echo "$file:1: no man page $name.1 or $name.8 in tools/"
        fi
    done
}

check_header()
{
    for compiler in gcc clang; do
        command -v "$compiler" >/dev/null 2>&1 || continue
        for language in c:c11 c:c17 c++:c++11 c++:c++17; do
            if ! echo '#include <mobula.h>' |
                "$compiler" -x "${language%%:*}" -std="${language#*:}" -pedantic -Wall -Wextra \
                    -Werror -Iinclude -fsyntax-only - 2>"$scratch/errors"; then
                echo "include/mobula.h:1: $compiler -std=${language#*:} does not take it alone:"
                sed 's/^/    /' "$scratch/errors"
            fi
        done
    done
}

{
    sources '*.c' '*.h' '*.cc' >"$scratch/sources"
    while read -r file; do
        check_code "$file"
    done <"$scratch/sources"
    check_sizes
    check_links
    check_man_pages
    check_header
} >"$scratch/breaches"

cat "$scratch/breaches"
[ ! -s "$scratch/breaches" ]
