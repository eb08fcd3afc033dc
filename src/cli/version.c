/* otolith --version: what this program is and what it runs on. */
#include "cli/cli.h"
#include "kernels/kernels.h"
#include "recogniser/recogniser.h"

int oto_cli_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    printf("otolith %s\n", OTO_VERSION);
    printf("cpu: %s\n", oto_cpu_features());
    printf("kernels: %s, %d cores\n", oto_cpu_table(), oto_cpu_count());
    printf("media: %s\n", oto_media_versions());
    printf("sandbox: %s\n", oto_sandbox_has_seccomp() ? "seccomp" : "rlimits only");
#ifdef OTO_FAULTS
    puts("faults on purpose: OTOLITH_FAIL_AFTER=N");
#endif
    return 0;
}
