# fish completion of taskctl; made by: taskctl completion fish

function __taskctl_completion
    set -l words (commandline -opc)
    set -l current (commandline -ct | string collect --allow-empty)
    set -l joined (string join -- \n $words $current | string collect --allow-empty)
    for line in (env COMP_WORDS="$joined" COMP_CWORD=(count $words) \
            _TASKCTL_COMPLETE=fish_complete $words[1] 2>/dev/null)
        set -l parts (string split -- \t $line)
        switch $parts[1]
            case file
                __fish_complete_path (commandline -ct)
            case dir
                __fish_complete_directories (commandline -ct)
            case plain
                string join -- \t $parts[2..]
        end
    end
end

complete --command taskctl --no-files --keep-order --arguments '(__taskctl_completion)'
