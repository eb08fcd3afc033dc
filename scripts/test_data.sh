#!/bin/sh
# Makes the recordings that tests and benchmarks run on, under DIR (default build/testdata): speech
# with exact texts, every container and codec, broken files, silence and noise. What is there
# already is kept; a change of this script or its helpers makes everything anew.
#
#   scripts/test_data.sh [DIR]
#
# DIR/{en,es,fr,it,ru,zh}.{wav,txt}   prompts joined with pauses (scripts/join_prompts.py)
# DIR/{en20,en60}.{wav,txt}           the same, short
# DIR/formats/*                       en20.wav in every container, codec, rate and channel layout
# DIR/bad/*                           files that are not what they claim to be
# DIR/{silence,noise}.wav             ten minutes each
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/testdata}
for tool in ffmpeg sox python3; do
    command -v $tool >/dev/null || {
        echo "test_data.sh: $tool is missing: scripts/deps.sh test" >&2
        exit 1
    }
done

stamp=$(cat scripts/test_data.sh scripts/join_prompts.py scripts/amr_encode.py | cksum)
if [ -f "$out/.made" ] && [ "$(cat "$out/.made")" = "$stamp" ]; then
    exit 0
fi
rm -rf "$out"
mkdir -p "$out/formats" "$out/bad"
echo "test_data.sh: making recordings in $out"
python3 scripts/join_prompts.py "$out"

ff() { ffmpeg -nostdin -v error -y "$@"; }
f=$out/formats
src=$out/en20.wav

# Containers and codecs. Bit rates are those of ordinary speech recordings.
ff -i "$src" -c:a libmp3lame -b:a 64k "$f/mp3.mp3"
ff -i "$src" -c:a aac -b:a 64k "$f/aac.m4a"
ff -i "$src" -c:a aac -b:a 64k "$f/adts.aac"
ff -i "$src" -c:a flac "$f/flac.flac"
ff -i "$src" -c:a libopus -b:a 32k "$f/opus.ogg"
ff -i "$src" -c:a libvorbis -q:a 4 "$f/vorbis.ogg"
ff -i "$src" -c:a libopus -b:a 32k "$f/opus.webm"
ff -i "$src" -c:a pcm_s24le "$f/s24.wav"
ff -i "$src" -c:a pcm_f32le "$f/f32.wav"
ff -i "$src" -c:a pcm_mulaw "$f/mulaw.wav"
ff -i "$src" -c:a pcm_s16be "$f/s16.aiff"
ff -i "$src" -f s16le "$f/raw.s16le"
picture="-f lavfi -i testsrc=size=160x120:rate=5 -shortest"
ff -i "$src" $picture -c:v mpeg4 -c:a aac -b:a 64k "$f/video.mp4"
ff -i "$src" $picture -c:v mpeg4 -c:a libvorbis -q:a 4 "$f/video.mkv"
ff -i "$src" $picture -c:v mpeg4 -c:a pcm_s16le "$f/video.mov"
# The index at the end (the default) and at the beginning: the latter is what a pipe can carry.
ff -i "$src" -c:a aac -b:a 64k -movflags +faststart "$f/faststart.m4a"
python3 scripts/amr_encode.py "$src" "$f/amr.amr" || true

# Rates and channels.
for rate in 8000 22050 44100 48000 96000; do
    ff -i "$src" -ar $rate "$f/rate$rate.wav"
done
ff -i "$src" -ac 2 -ar 44100 "$f/stereo.wav"
ff -i "$src" -filter_complex "[0:a]pan=5.1|FC=c0[a]" -map "[a]" "$f/surround.flac"
# Speech on the right channel only.
ff -i "$src" -filter_complex "[0:a]pan=stereo|c1=c0[a]" -map "[a]" "$f/right.wav"

# Broken files.
b=$out/bad
: >"$b/empty.wav"
ff -f lavfi -i testsrc=size=160x120:rate=1 -frames:v 1 "$b/picture.png"
cp "$b/picture.png" "$b/picture.mp3"
printf 'This is a letter, not a recording.\n' >"$b/letter.txt"
ff -f lavfi -i testsrc=size=160x120:rate=5 -t 2 -c:v mpeg4 "$b/no_sound.mp4"
size=$(wc -c <"$f/mp3.mp3")
head -c $((size / 2)) "$f/mp3.mp3" >"$b/half.mp3"
head -c 30 "$src" >"$b/header.wav"
head -c $((size / 2)) "$f/aac.m4a" >"$b/no_index.m4a"
head -c 20000 /dev/zero >"$b/zeros.mp3"
cp LICENSE "$b/licence.flac"

sox -n -r 16000 -b 16 -c 1 "$out/silence.wav" trim 0 600
sox -R -n -r 16000 -b 16 -c 1 "$out/noise.wav" synth 600 pinknoise vol 0.1
echo "$stamp" >"$out/.made"
