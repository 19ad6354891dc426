"""The completion scripts of bash, zsh and fish, and where each shell looks for them.

A script asks the program itself: it hands over the words of the command line, one a line, in
COMP_WORDS, the number of the word at the cursor in COMP_CWORD, and gets one candidate a line:
its kind (plain, file, dir), its text and its help, with tabs between. See taskctl.completer.
"""

from __future__ import annotations

import os
from pathlib import Path

#: A line that says a file is ours, and may be written over.
MARK = "made by: taskctl completion"

_BASH = """\
# bash completion of taskctl; made by: taskctl completion bash

_taskctl_completion() {
    local kind value help
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value help; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done < <(
        IFS=$'\\n'
        env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \\
            _TASKCTL_COMPLETE=bash_complete "${1:-taskctl}" 2>/dev/null
    )
}

# bash before 4.4 knows no nosort
complete -o nosort -F _taskctl_completion taskctl 2>/dev/null ||
    complete -F _taskctl_completion taskctl
"""

_ZSH = """\
#compdef taskctl
# zsh completion of taskctl; made by: taskctl completion zsh

_taskctl() {
    local line kind value help
    local -a values described
    (( $+commands[${words[1]}] )) || [[ -x ${words[1]} ]] || return 1
    while IFS=$'\\t' read -r kind value help; do
        case $kind in
            plain)
                if [[ -n $help ]]; then
                    described+=("${value//:/\\\\:}:$help")
                else
                    values+=("$value")
                fi
                ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done < <(
        env COMP_WORDS="${(F)words}" COMP_CWORD=$((CURRENT - 1)) \\
            _TASKCTL_COMPLETE=zsh_complete "${words[1]}" 2>/dev/null
    )
    (( $#described )) && _describe -V taskctl described
    (( $#values )) && compadd -V taskctl -a values
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _taskctl "$@"
else
    compdef _taskctl taskctl
fi
"""

_FISH = """\
# fish completion of taskctl; made by: taskctl completion fish

function __taskctl_completion
    set -l words (commandline -opc)
    set -l current (commandline -ct | string collect --allow-empty)
    set -l joined (string join -- \\n $words $current | string collect --allow-empty)
    for line in (env COMP_WORDS="$joined" COMP_CWORD=(count $words) \\
            _TASKCTL_COMPLETE=fish_complete $words[1] 2>/dev/null)
        set -l parts (string split -- \\t $line)
        switch $parts[1]
            case file
                __fish_complete_path (commandline -ct)
            case dir
                __fish_complete_directories (commandline -ct)
            case plain
                string join -- \\t $parts[2..]
        end
    end
end

complete --command taskctl --no-files --keep-order --arguments '(__taskctl_completion)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

#: Name of each script in the folder of all completions of its shell.
FILES = {"bash": "taskctl.bash", "zsh": "_taskctl", "fish": "taskctl.fish"}

#: What is left to do after a script was installed.
NEXT = {
    "bash": "new shells have it if the package bash-completion is installed; else source the file",
    "zsh": "in ~/.zshrc, before compinit: fpath=({folder} $fpath)",
    "fish": "new shells have it",
}


def place(shell: str) -> Path:
    """Return the file in which this user's shell looks for the completion of taskctl."""
    match shell:
        case "bash":
            own = os.environ.get("BASH_COMPLETION_USER_DIR", "").partition(":")[0]
            data = Path(own) if own else _home("XDG_DATA_HOME", ".local/share") / "bash-completion"
            return data / "completions" / "taskctl"
        case "zsh":
            return _home("XDG_DATA_HOME", ".local/share") / "zsh" / "site-functions" / "_taskctl"
        case _:
            return _home("XDG_CONFIG_HOME", ".config") / "fish" / "completions" / "taskctl.fish"


def _home(variable: str, otherwise: str) -> Path:
    given = os.environ.get(variable, "")
    return Path(given) if os.path.isabs(given) else Path.home() / otherwise
