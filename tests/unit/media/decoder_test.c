/* Every container and codec gives the samples of the wav it was made from, from a file and from a
 * pipe; what is damaged gives what it holds, with a warning; whatever is not a recording is refused
 * with its reason. */
#include "media/decoder.c"

#include "recordings.h"

/* ---- what is heard ---- */

static const struct {
    const char *name, *how; /* ffmpeg's arguments after the input */
    double least;
    int rate, channels;
} formats[] = {
    {"plain.wav", "", 0.999, 16000, 1},
    {"s24.wav", "-c:a pcm_s24le", 0.999, 16000, 1},
    {"f32.wav", "-c:a pcm_f32le", 0.999, 16000, 1},
    {"u8.wav", "-c:a pcm_u8", 0.99, 16000, 1},
    {"mulaw.wav", "-c:a pcm_mulaw", 0.99, 16000, 1},
    {"adpcm.wav", "-c:a adpcm_ima_wav", 0.98, 16000, 1},
    {"be.aiff", "-c:a pcm_s16be", 0.999, 16000, 1},
    {"sun.au", "-c:a pcm_s16be", 0.999, 16000, 1},
    {"r8000.wav", "-ar 8000", 0.9, 8000, 1},
    {"r11025.wav", "-ar 11025", 0.9, 11025, 1},
    {"r22050.wav", "-ar 22050", 0.99, 22050, 1},
    {"r44100.wav", "-ar 44100", 0.999, 44100, 1},
    {"r48000.wav", "-ar 48000", 0.999, 48000, 1},
    {"r96000.wav", "-ar 96000", 0.999, 96000, 1},
    {"r192000.wav", "-ar 192000", 0.999, 192000, 1},
    {"stereo.wav", "-ac 2 -ar 44100", 0.999, 44100, 2},
    {"right.wav", "-af 'pan=stereo|c1=c0'", 0.999, 16000, 2},
    {"surround.wav", "-af 'pan=5.1|FC=c0' -ar 48000", 0.999, 48000, 6},
    {"surround.flac", "-af 'pan=7.1|FC=c0'", 0.999, 16000, 8},
    {"mp3.mp3", "-c:a libmp3lame -b:a 64k", 0.98, 16000, 1},
    {"vbr.mp3", "-c:a libmp3lame -q:a 4 -ar 44100 -ac 2", 0.98, 44100, 2},
    {"bare.mp3", "-c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0", 0.97, 16000, 1},
    {"aac.m4a", "-c:a aac -b:a 64k", 0.98, 16000, 1},
    {"fast.m4a", "-c:a aac -b:a 64k -movflags +faststart", 0.98, 16000, 1},
    {"parts.mp4", "-c:a aac -b:a 64k -movflags +frag_keyframe+empty_moov", 0.98, 16000, 1},
    {"alac.m4a", "-c:a alac", 0.999, 16000, 1},
    {"adts.aac", "-c:a aac -b:a 64k", 0.98, 16000, 1},
    {"flac.flac", "-c:a flac", 0.999, 16000, 1},
    {"flac.ogg", "-c:a flac", 0.999, 16000, 1},
    {"opus.ogg", "-c:a libopus -b:a 32k", 0.95, 48000, 1},
    {"opus.webm", "-c:a libopus -b:a 32k", 0.95, 48000, 1},
    {"field.mkv", "-af 'pan=4c|c0=c0' -c:a libopus -mapping_family 2 -b:a 96k", 0.9, 48000, 4},
    {"vorbis.ogg", "-c:a libvorbis -q:a 4", 0.98, 16000, 1},
    {"vorbis.webm", "-c:a libvorbis -q:a 4 -ar 48000 -ac 2", 0.98, 48000, 2},
    {"ac3.ts", "-c:a ac3 -ar 48000", 0.95, 48000, 1},
    {"wma.wma", "-c:a wmav2 -b:a 64k -ar 44100", 0.9, 44100, 1},
    {"video.mp4", "-f lavfi -i testsrc=s=64x64:r=5:d=6 -c:v mpeg4 -c:a aac", 0.98, 16000, 1},
    {"video.mkv", "-f lavfi -i testsrc=s=64x64:r=5:d=6 -c:v mpeg4 -c:a libvorbis", 0.9, 16000, 1},
    {"video.mov", "-f lavfi -i testsrc=s=64x64:r=5:d=6 -c:v mpeg4 -c:a pcm_s16le", 0.999, 16000, 1},
    {"video.avi", "-f lavfi -i testsrc=s=64x64:r=5:d=6 -c:v mpeg4 -c:a pcm_s16le", 0.999, 16000, 1},
    {"longer.mp4", "-f lavfi -i testsrc=s=64x64:r=5:d=12 -c:v mpeg4 -c:a aac", 0.98, 16000, 1},
    {"cover.mp3",
     "-f lavfi -i testsrc=s=64x64:d=1 -frames:v 1 -c:v mjpeg -map 0:a -map 1:v -id3v2_version 3 "
     "-disposition:v attached_pic -c:a libmp3lame -b:a 64k",
     0.98, 16000, 1},
    {"cover.m4a",
     "-f lavfi -i testsrc=s=64x64:d=1 -frames:v 1 -c:v mjpeg -map 0:a -map 1:v "
     "-disposition:v attached_pic -c:a aac",
     0.98, 16000, 1},
};

static void every_format_from_file_and_pipe(void **state)
{
    int done = 0;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(formats); i++) {
        const char *path = in_dir(formats[i].name);
        heard file, piped;

        if (!run("ffmpeg -nostdin -v error -y -i ref.wav %s '%s'", formats[i].how,
                 formats[i].name)) {
            print_message("skipped: this ffmpeg cannot make %s\n", formats[i].name);
            continue;
        }
        file = hear(path);
        piped = hear_pipe(path);
        assert_like_reference(formats[i].name, &file, formats[i].least);
        assert_int_equal(file.info.rate_hz, formats[i].rate);
        assert_int_equal(file.info.channels, formats[i].channels);
        assert_true(file.info.container[0] != '\0' && file.info.codec[0] != '\0');
        assert_true(file.peak_bytes > (1 << 20));
        /* libav drops an mp3's padding at the end only where it could look at the end. */
        if (strstr(formats[i].name, ".mp3") != NULL && piped.n > file.n && piped.n < file.n + 1152)
            piped.n = file.n;
        if (file.n != piped.n)
            print_error("%s: %zu samples from the file, %zu from the pipe (%s)\n", formats[i].name,
                        file.n, piped.n, piped.e.text);
        assert_same(&file, &piped);
        forget(&file);
        forget(&piped);
        done++;
    }
    assert_true(done > 10);
}

static void amr(void **state)
{
    heard file, piped;

    (void)state;
    if (!run("python3 " OTO_SOURCE_DIR "/scripts/amr_encode.py ref.wav voice.amr")) {
        print_message("skipped: no AMR encoder\n");
        skip();
    }
    file = hear(in_dir("voice.amr"));
    piped = hear_pipe(in_dir("voice.amr"));
    assert_like_reference("voice.amr", &file, 0.75);
    assert_same(&file, &piped);
    forget(&file);
    forget(&piped);
}

static void raw_samples(void **state)
{
    static const struct {
        const char *name, *how, *format;
        int rate, channels;
        double least;
    } raw[] = {
        {"raw.s16", "-f s16le", "s16le", 16000, 1, 0.9999},
        {"raw.f32", "-f f32le -ar 48000 -ac 2", "f32le", 48000, 2, 0.999},
        {"raw.ulaw", "-f mulaw -ar 8000", "mulaw", 8000, 1, 0.9},
        {"raw.alaw", "-f alaw -ar 8000", "alaw", 8000, 1, 0.9},
        {"raw.bin", "-f g722", "g722", 16000, 1, 0.98},
    };
    oto_media_options o;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(raw); i++) {
        heard file, piped;

        oto_media_defaults(&o);
        o.raw_pcm = true;
        o.raw_rate_hz = raw[i].rate;
        o.raw_channels = raw[i].channels;
        snprintf(o.raw_format, sizeof o.raw_format, "%s", raw[i].format);
        assert_true(run("ffmpeg -nostdin -v error -y -i ref.wav %s %s", raw[i].how, raw[i].name));
        file = hear_with(in_dir(raw[i].name), &o);
        piped = hear_pipe_with(in_dir(raw[i].name), &o);
        assert_like_reference(raw[i].name, &file, raw[i].least);
        assert_same(&file, &piped);
        forget(&file);
        forget(&piped);
    }
    snprintf(o.raw_format, sizeof o.raw_format, "s17le");
    assert_int_equal(hear_with(in_dir("raw.s16"), &o).rc, OTO_E_USAGE);
    snprintf(o.raw_format, sizeof o.raw_format, "s16le");
    o.raw_channels = 0;
    assert_int_equal(hear_with(in_dir("raw.s16"), &o).rc, OTO_E_USAGE);
}

/* 16-bit samples at 16 kHz pass through unchanged, and full scale stays full scale. */
static void samples_are_exact(void **state)
{
    static const int16_t edge[8] = {0, 1, -1, 16384, -16384, 32767, -32768, 256};
    static const float wild[] = {0.5f, 3, -7, NAN, INFINITY, -INFINITY, 1, -1};
    static const float tame[] = {0.5f, 1, -1, 0, 1, -1, 1, -1};
    int16_t many[66];
    oto_media_options o;
    heard h;

    (void)state;
    oto_media_defaults(&o);
    o.raw_pcm = true;
    write_bytes("edge.raw", edge, sizeof edge);
    h = hear_with(in_dir("edge.raw"), &o);
    assert_int_equal(h.rc, 0);
    assert_int_equal(h.n, 8);
    for (int i = 0; i < 8; i++)
        assert_true(h.pcm[i] == (float)edge[i] / 32768);
    forget(&h);
    /* Both channels full: the average stays within [-1, 1]. */
    o.raw_channels = 2;
    h = hear_with(in_dir("edge.raw"), &o);
    assert_int_equal(h.n, 4);
    for (size_t i = 0; i < h.n; i++)
        assert_true(fabsf(h.pcm[i] - (float)(edge[2 * i] + edge[2 * i + 1]) / 65536) < 1e-6f);
    forget(&h);
    /* Whatever floats hold, samples are numbers in [-1, 1]. */
    write_bytes("wild.raw", wild, sizeof wild);
    o.raw_channels = 1;
    snprintf(o.raw_format, sizeof o.raw_format, "f32le");
    h = hear_with(in_dir("wild.raw"), &o);
    assert_int_equal(h.n, OTO_COUNT(wild));
    for (size_t i = 0; i < h.n; i++)
        assert_true(h.pcm[i] == tame[i]);
    forget(&h);
    snprintf(o.raw_format, sizeof o.raw_format, "s16le");
    /* More microphones than any arrangement of speakers has names for. */
    for (int i = 0; i < 33; i++)
        many[i] = many[i + 33] = (int16_t)(i == 4 ? 16384 : 0);
    write_bytes("many.raw", many, sizeof many);
    o.raw_channels = 33;
    h = hear_with(in_dir("many.raw"), &o);
    assert_int_equal(h.n, 2);
    for (size_t i = 0; i < h.n; i++)
        assert_true(fabsf(h.pcm[i] - 0.5f / 33) < 1e-6f);
    forget(&h);
}

static void one_after_another(void **state)
{
    static const char *const names[] = {"opus.ogg", "vorbis.ogg", "bare.mp3"};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        heard h;

        if (access(in_dir(names[i]), R_OK) != 0)
            continue;
        assert_true(run("cat %s %s > twice", names[i], names[i]));
        h = hear(in_dir("twice"));
        assert_int_equal(h.rc, 0);
        assert_true(labs((long)h.n - 2 * (long)n_reference) < 2 * 130 * 16);
        forget(&h);
    }
}

/* ---- what is damaged ---- */

static void truncated_files_give_what_they_hold(void **state)
{
    static const char *const names[] = {"plain.wav", "r48000.wav", "mp3.mp3",   "fast.m4a",
                                        "flac.flac", "video.mov",  "vorbis.ogg"};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        heard h;

        /* The index of video.mov comes last: nothing can be read without it. */
        if (strcmp(names[i], "video.mov") == 0 || access(in_dir(names[i]), R_OK) != 0)
            continue;
        assert_true(run("head -c $(($(wc -c <%s) * 6 / 10)) %s > cut", names[i], names[i]));
        h = hear(in_dir("cut"));
        if (h.rc != 0 || h.n < n_reference / 2 || h.n > n_reference * 7 / 10)
            print_error("%s: %zu samples, %s\n", names[i], h.n, h.e.text);
        assert_int_equal(h.rc, 0);
        assert_true(h.n > n_reference / 2 && h.n < n_reference * 7 / 10);
        /* An Ogg file does not say how long it should be. */
        if (strcmp(names[i], "vorbis.ogg") != 0 &&
            strstr(h.warning, "truncated: ends at 3.") == NULL)
            fail_msg("%s: '%s'", names[i], h.warning);
        forget(&h);
    }
}

static void damage_is_counted(void **state)
{
    char buf[200];
    FILE *f;
    heard h;
    long size;

    (void)state;
    if (!run("cp fast.m4a hurt.m4a"))
        skip();
    f = fopen(in_dir("hurt.m4a"), "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    memset(buf, 0xff, sizeof buf);
    for (int i = 0; i < 4; i++) {
        fseek(f, size * (4 + i) / 10, SEEK_SET);
        fwrite(buf, 1, sizeof buf, f);
    }
    fclose(f);
    h = hear(in_dir("hurt.m4a"));
    assert_int_equal(h.rc, 0);
    assert_true(h.n > n_reference / 2);
    assert_non_null(strstr(h.warning, "corrupt packet"));
    forget(&h);
}

static void assert_refused(const char *name, int code, const char *reason)
{
    const heard h = hear(in_dir(name));

    if (h.rc != code || strstr(h.e.text, reason) == NULL)
        print_error("%s: %d '%s', expected %d '%s'\n", name, h.rc, h.e.text, code, reason);
    assert_int_equal(h.rc, code);
    assert_int_equal(h.e.code, code);
    assert_non_null(strstr(h.e.text, reason));
    assert_non_null(strstr(h.e.text, name)); /* which file */
    assert_null(strchr(h.e.text, '\n'));
}

static void other_things_are_refused(void **state)
{
    static const char letter[] = "Dear reader,\nthis is a letter and not a recording.\n";
    char noise[20000];
    uint32_t x = 1;

    (void)state;
    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * 1664525u + 1013904223u;
        noise[i] = (char)(x >> 24);
    }
    assert_true(run("mkdir -p folder"));
    write_bytes("empty.wav", "", 0);
    write_bytes("letter.txt", letter, sizeof letter - 1);
    write_bytes("letter.wav", letter, sizeof letter - 1);
    write_bytes("letter.flac", letter, sizeof letter - 1);
    write_bytes("letter", letter, sizeof letter - 1);
    write_bytes("words.srt", "1\n00:00:01,000 --> 00:00:02,000\nWords\n", 38);
    write_bytes("noise.bin", noise, sizeof noise);
    write_bytes("one.wav", "\1", 1);
    memset(noise, 0, sizeof noise);
    write_bytes("zeros.mp3", noise, sizeof noise);
    assert_true(run("head -c 30 plain.wav > header.wav"));
    assert_true(run("head -c 78 plain.wav > silent.wav"));
    assert_refused("nosuch.wav", OTO_E_NOT_FOUND, "No such file");
    assert_refused("plain.wav/below", OTO_E_NOT_FOUND, "Not a directory");
    assert_refused("folder", OTO_E_INPUT, "folder");
    assert_refused("empty.wav", OTO_E_INPUT, "0 bytes");
    assert_refused("letter.txt", OTO_E_NO_AUDIO, "a text");
    assert_refused("letter.wav", OTO_E_NO_AUDIO, "a text");
    assert_refused("letter.flac", OTO_E_NO_AUDIO, "a text");
    assert_refused("letter", OTO_E_NO_AUDIO, "a text");
    assert_refused("words.srt", OTO_E_NO_AUDIO, "a text");
    assert_refused("noise.bin", OTO_E_INPUT, "corrupt");
    assert_refused("one.wav", OTO_E_INPUT, "corrupt");
    assert_refused("zeros.mp3", OTO_E_INPUT, "corrupt");
    assert_refused("header.wav", OTO_E_INPUT, "corrupt");
    assert_refused("silent.wav", OTO_E_NO_AUDIO, "no samples");
    if (run("head -c 9000 aac.m4a > noindex.m4a"))
        assert_refused("noindex.m4a", OTO_E_INPUT, "moov");
}

static void pictures_and_films_without_sound(void **state)
{
    static const char *const pictures[] = {"p.png", "p.jpg", "p.gif", "p.bmp", "p.webp", "p.tiff"};
    const char *test = "ffmpeg -nostdin -v error -y -f lavfi -i testsrc=s=64x64:r=5:d=2";
    heard h;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(pictures); i++)
        if (run("%s -frames:v 1 %s", test, pictures[i]))
            assert_refused(pictures[i], OTO_E_NO_AUDIO, "a picture");
    assert_true(run("cp p.png mask.mp3"));
    assert_refused("mask.mp3", OTO_E_NO_AUDIO, "a picture");
    h = hear_pipe(in_dir("p.png"));
    assert_int_equal(h.rc, OTO_E_NO_AUDIO);
    assert_string_equal(h.e.text, "standard input: a picture (png), no audio track");
    assert_true(run("%s -c:v mpeg4 one.mp4", test));
    assert_refused("one.mp4", OTO_E_NO_AUDIO, "no audio track (1 video stream)");
    assert_true(run("%s -map 0 -map 0 -c:v mpeg4 two.mkv", test));
    assert_refused("two.mkv", OTO_E_NO_AUDIO, "no audio track (2 video streams)");
}

/* A playlist may name any file of the machine: none is opened. */
static void playlists_lead_nowhere(void **state)
{
    char text[600];

    (void)state;
    snprintf(text, sizeof text,
             "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n%s\n#EXT-X-ENDLIST\n",
             in_dir("plain.wav"));
    write_bytes("list.m3u8", text, strlen(text));
    assert_refused("list.m3u8", OTO_E_NO_AUDIO, "a text");
    snprintf(text, sizeof text, "ffconcat version 1.0\nfile plain.wav\n");
    write_bytes("list.ffconcat", text, strlen(text));
    assert_refused("list.ffconcat", OTO_E_NO_AUDIO, "a text");
}

static void versions(void **state)
{
    (void)state;
    assert_non_null(strstr(oto_media_versions(), "libavformat"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_from_file_and_pipe),
        cmocka_unit_test(amr),
        cmocka_unit_test(raw_samples),
        cmocka_unit_test(samples_are_exact),
        cmocka_unit_test(one_after_another),
        cmocka_unit_test(truncated_files_give_what_they_hold),
        cmocka_unit_test(damage_is_counted),
        cmocka_unit_test(other_things_are_refused),
        cmocka_unit_test(pictures_and_films_without_sound),
        cmocka_unit_test(playlists_lead_nowhere),
        cmocka_unit_test(versions),
    };

    return have_ffmpeg() ? cmocka_run_group_tests(tests, set_up, tear_down) : 77;
}
