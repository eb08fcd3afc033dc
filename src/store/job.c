/* The states of a job and the lawful moves between them. */
#include "store/store.h"

#include <string.h>

static const char *const names[OTO_JOB_STATES] = {"queued", "running", "done",
                                                  "failed", "dead",    "cancelled"};

/* moves[from]: bits of the states it may go to. */
#define TO(s) (1u << OTO_JOB_##s)
static const unsigned moves[OTO_JOB_STATES] = {
    [OTO_JOB_QUEUED] = TO(RUNNING) | TO(CANCELLED),
    [OTO_JOB_RUNNING] = TO(QUEUED) | TO(DONE) | TO(FAILED) | TO(DEAD) | TO(CANCELLED),
    [OTO_JOB_DONE] = 0,
    [OTO_JOB_FAILED] = TO(QUEUED),
    [OTO_JOB_DEAD] = TO(QUEUED),
    [OTO_JOB_CANCELLED] = TO(QUEUED),
};

const char *oto_job_state_name(oto_job_state s)
{
    return (unsigned)s < OTO_JOB_STATES ? names[s] : "?";
}

int oto_job_state_parse(const char *s, oto_job_state *out)
{
    for (int i = 0; i < OTO_JOB_STATES; i++)
        if (strcmp(s, names[i]) == 0) {
            *out = (oto_job_state)i;
            return 0;
        }
    return -1;
}

bool oto_job_may(oto_job_state from, oto_job_state to)
{
    return (moves[from] & (1u << to)) != 0;
}

bool oto_job_ended(oto_job_state s)
{
    return s != OTO_JOB_QUEUED && s != OTO_JOB_RUNNING;
}
