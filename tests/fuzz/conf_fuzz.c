/* The input is a settings file. Whatever it says, a failure names the line, and what the settings
 * are afterwards can be printed and read back as the same. */
#include "cli/conf.c"

#define MUST(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static oto_conf first, again;
    char *text = NULL;
    size_t n_text = 0;
    oto_err e = {0};
    FILE *f;
    int rc;

    oto_conf_defaults(&first);
    oto_conf_defaults(&again);
    rc = oto_conf_parse(&first, (const char *)p, n, "f", &e);
    MUST(rc == 0 || (rc == OTO_E_USAGE && strncmp(e.text, "f:", 2) == 0));
    f = open_memstream(&text, &n_text);
    MUST(f != NULL);
    oto_conf_print(&first, f);
    fclose(f);
    MUST(oto_conf_parse(&again, text, n_text, "f", &e) == 0);
    for (int i = 0; i < N_SETTINGS; i++) {
        MUST(strcmp(first.entries[i].value, again.entries[i].value) == 0);
        MUST(oto_conf_number(&first, settings[i].name) >= 0);
    }
    MUST(oto_conf_text(&first, "listen") != NULL && oto_conf_text(&first, "model") != NULL);
    free(text);
    return 0;
}
