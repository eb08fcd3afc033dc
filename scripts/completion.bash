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
        COMPREPLY=($(compgen -W "transcribe vad models score bench serve keys monitor stress report version help --help --version" -- "$cur"))
        return
    fi
    case $prev in
    -m|--model|--models) _otolith_models "$cur"; COMPREPLY+=($(compgen -f -- "$cur")); return ;;
    -l|--language) COMPREPLY=($(compgen -W "auto en zh de es fr it ja ko pt ru" -- "$cur")); return ;;
    -f|--format) COMPREPLY=($(compgen -W "txt srt vtt json tsv lrc" -- "$cur")); return ;;
    -o|--output|--data) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --log) COMPREPLY=($(compgen -W "text json" -- "$cur")); return ;;
    --log-level) COMPREPLY=($(compgen -W "error warn info debug" -- "$cur")); return ;;
    --config|--tls-cert|--tls-key) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --task) COMPREPLY=($(compgen -W "transcribe translate" -- "$cur")); return ;;
    --script) COMPREPLY=($(compgen -W "s2t t2s s2tw tw2s s2hk hk2s s2twp tw2sp t2tw tw2t t2hk hk2t" -- "$cur")); return ;;
    --compute) COMPREPLY=($(compgen -W "int8 bf16 f32" -- "$cur")); return ;;
    esac
    # One line a verb, compared with --help by scripts/check_options.py.
    case $verb in
    transcribe) options="--model --language --format --output --task --words --threads --compute --beam --batch --prompt --hotwords --itn --script --no-vad --punc --raw --memory-limit --offline --quiet --help" ;;
    vad) options="--model --threads --offline --quiet --help" ;;
    models) options="--compute --from --offline --quiet --help" ;;
    score) options="--cer --wer --raw --json --help" ;;
    monitor) options="--pid --name --port --interval --duration --out --live --help" ;;
    stress) options="--url --audio --phase --jobs --hours --minutes --max-concurrency --out --csv --baseline --pid --name --key --timeout --settle --interval --resume --keep --quiet --help" ;;
    report) options="--jsonl --csv --baseline --lang --out --help" ;;
    bench) options="--model --language --threads --compute --beam --no-vad --json --offline --help" ;;
    serve) options="--listen --data --model --models --compute --no-vad --punc --workers --threads --jobs-per-worker --batch --beam --itn --script --memory-limit --max-upload --upload-timeout --max-audio --max-queue --max-connections --keep --keep-size --min-free --tls-cert --tls-key --cors --aliases --require-keys --allow-anonymous --allow-private-webhooks --webhook-secret --drain --recycle-jobs --recycle-age --recycle-growth --log --log-level --offline --config --print-config --help" ;;
    keys) options="--data --name --max-jobs --help" ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    elif [ "$verb" = models ] && [ "$COMP_CWORD" -eq 2 ]; then
        COMPREPLY=($(compgen -W "list pull verify rm path convert" -- "$cur"))
    elif [ "$verb" = keys ]; then
        COMPREPLY=($(compgen -W "add list revoke" -- "$cur"))
    elif [ "$verb" = models ] && [ "${COMP_WORDS[2]}" != convert ]; then
        _otolith_models "$cur"
    else
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}
complete -F _otolith otolith
