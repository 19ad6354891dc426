# bash completion of taskctl; made by: taskctl completion bash

_taskctl_completion() {
    local kind value help
    COMPREPLY=()
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done < <(
        IFS=$'\n'
        env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
            _TASKCTL_COMPLETE=bash_complete "${1:-taskctl}" 2>/dev/null
    )
}

# bash before 4.4 knows no nosort
complete -o nosort -F _taskctl_completion taskctl 2>/dev/null ||
    complete -F _taskctl_completion taskctl
