# bash completion for otolith

_otolith_models()
{
    COMPREPLY+=($(compgen -W "$(otolith models list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$1"))
}

_otolith()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} options=
    COMPREPLY=()
    compopt -o filenames 2>/dev/null
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "transcribe vad models score bench version help --help --version" -- "$cur"))
        return
    fi
    case $prev in
    -m|--model) _otolith_models "$cur"; COMPREPLY+=($(compgen -f -- "$cur")); return ;;
    -l|--language) COMPREPLY=($(compgen -W "auto en zh de es fr it ja ko pt ru" -- "$cur")); return ;;
    -f|--format) COMPREPLY=($(compgen -W "txt srt vtt json tsv lrc" -- "$cur")); return ;;
    -o|--output) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --task) COMPREPLY=($(compgen -W "transcribe translate" -- "$cur")); return ;;
    --compute) COMPREPLY=($(compgen -W "int8 bf16 f32" -- "$cur")); return ;;
    esac
    # One line a verb, compared with --help by scripts/check_options.py.
    case $verb in
    transcribe) options="--model --language --format --output --task --words --threads --compute --beam --batch --prompt --hotwords --no-vad --raw --memory-limit --offline --quiet --help" ;;
    vad) options="--model --threads --offline --quiet --help" ;;
    models) options="--compute --from --offline --quiet --help" ;;
    score) options="--cer --wer --raw --json --help" ;;
    bench) options="--model --language --threads --compute --beam --no-vad --json --offline --help" ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    elif [ "$verb" = models ] && [ "$COMP_CWORD" -eq 2 ]; then
        COMPREPLY=($(compgen -W "list pull verify rm path convert" -- "$cur"))
    elif [ "$verb" = models ] && [ "${COMP_WORDS[2]}" != convert ]; then
        _otolith_models "$cur"
    else
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -F _otolith otolith
