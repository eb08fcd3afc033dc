/* What a report says, in each language. %s are numbers and names, formatted already, in this order
 * in all of them; **bold** and `code` as in document.h. A further language is one more column. */
#ifndef OTO_MEASURE_REPORT_TEXT_H
#define OTO_MEASURE_REPORT_TEXT_H

#define OTO_REPORT_TEXTS(X)                                                                                                     \
    X(LANGUAGE, "English", "简体中文")                                                                                          \
    X(TITLE, "Memory Leak Verification Report", "内存泄漏验证报告")                                                             \
    X(TITLE_FIX, "Memory Leak Fix Verification Report", "内存泄漏修复验证报告")                                                 \
    X(COLON, ":", "：")                                                                                                         \
    X(STOP, ". ", "。")                                                                                                         \
    X(COMMA, ", ", "、")                                                                                                        \
    X(NONE, "N/A", "无")                                                                                                        \
    X(TEST_TIME, "Test time", "测试时间")                                                                                       \
    X(TEST_FILE, "Test file", "测试文件")                                                                                       \
    X(SERVER, "Server", "被测服务")                                                                                             \
    X(MACHINE, "Machine", "测试机器")                                                                                           \
    X(DATE, "%s-%s-%s %s:%s", "%s年%s月%s日 %s:%s")                                                                             \
    X(TIME_OF_DAY, "%s:%s", "%s:%s")                                                                                            \
    X(PERCENT, "%s %%", "%s%%")                                                                                                 \
    X(TO, " to ", " 至 ")                                                                                                       \
    X(SECONDS, "%s s", "%s 秒")                                                                                                 \
    X(MINUTES, "%s min %s s", "%s 分 %s 秒")                                                                                    \
    X(HOURS, "%s h %s min", "%s 小时 %s 分")                                                                                    \
                                                                                                                                \
    X(RESULT, "Test result", "测试结果")                                                                                        \
    X(PASSED, "passed", "通过")                                                                                                 \
    X(FAILED, "failed", "未通过")                                                                                               \
    X(UNKNOWN, "not known", "无法判定")                                                                                         \
    X(RESULT_PASS,                                                                                                              \
      "**Passed.** Memory stays level: %s of %s jobs finished, and nothing that was measured "                                  \
      "grows.",                                                                                                                 \
      "**通过。** 内存保持平稳：%s / %s 个任务完成，所有测得的指标均无增长。")                                                  \
    X(RESULT_FAIL, "**Failed.** %s of %s jobs finished. What does not hold: %s.",                                               \
      "**未通过。** %s / %s 个任务完成。不成立的有：%s。")                                                                      \
    X(RESULT_UNKNOWN,                                                                                                           \
      "**Not known.** %s of %s jobs finished, but the figures do not allow a verdict on memory.",                               \
      "**无法判定。** %s / %s 个任务完成，但现有数据不足以对内存下结论。")                                                      \
    X(RESULT_HIDDEN,                                                                                                            \
      "**Not known: an idle process was measured.** %s of %s jobs finished. The records' “worker "                            \
      "memory” (%s to %s MB) is that of process %s, which did no work; the processes that did "                               \
      "peak at up to **%s MB**.",                                                                                               \
      "**无法判定：测到的是空闲进程。** %s / %s 个任务完成。记录中的“Worker 内存”（%s 至 %s "   \
      "MB）属于没有干活的进程 %s；真正工作的进程峰值高达 **%s MB**。")                                                          \
    X(WHY_GROWS, "the private memory of %s grows by %s KB a job",                                                               \
      "%s 的私有内存每个任务增长 %s KB")                                                                                        \
    X(WHY_PEAK, "the peak of %s grows with the length of the audio (%s MB an hour)",                                            \
      "%s 的峰值随音频长度增长（每小时 %s MB）")                                                                                \
    X(WHY_JOBS, "%s accepted jobs failed", "%s 个已接收的任务失败")                                                             \
    X(WHY_ORIGINAL,                                                                                                             \
      "worker memory after the longest recording %s MB (limit 200), or RTF %s (limit 1)",                                       \
      "最长音频后 Worker 内存变化 %s MB（阈值 200），或 RTF %s（阈值 1）")                                                      \
                                                                                                                                \
    X(PHASE_1, "Phase 1: memory verification", "阶段 1：内存泄漏验证")                                                          \
    X(TEST_N, "Test %s: %s (%s MB, %s)", "测试 %s：%s（%s MB，%s）")                                                            \
    X(LENGTH, "length", "时长")                                                                                                 \
    X(TASK_ID, "Task ID", "任务 ID")                                                                                            \
    X(TIME, "Processing time", "处理时间")                                                                                      \
    X(RTF, "RTF", "RTF")                                                                                                        \
    X(FASTER, "%s (faster than real time)", "%s（比实时快）")                                                                   \
    X(SLOWER, "%s (slower than real time)", "%s（比实时慢）")                                                                   \
    X(MEMORY_CHANGE, "Worker memory change", "Worker 内存变化")                                                                 \
    X(CHANGE, "%s: before %s MB, after %s MB, delta **%s MB**",                                                                 \
      "%s：前 %s MB，后 %s MB，变化量 **%s MB**")                                                                               \
    X(BY_RECORDING, "Jobs by recording", "按录音汇总")                                                                          \
    X(RECORDING, "Recording", "录音")                                                                                           \
    X(JOBS, "Jobs", "任务数")                                                                                                   \
    X(MEDIAN_TIME, "Median time (s)", "处理时间中位数（秒）")                                                                   \
    X(MEDIAN_RTF, "Median RTF", "RTF 中位数")                                                                                   \
    X(TREE_PEAK, "Peak, all processes (MB)", "所有进程峰值 (MB)")                                                               \
    X(GROWTH, "Growth with the number of jobs", "随任务数的增长")                                                               \
    X(GROWTH_TEXT,                                                                                                              \
      "Private memory after each of %s jobs, the first %s of the run left out as warm-up. A "                                   \
      "growth of %s KB a job or more would show.",                                                                              \
      "取每个任务结束后的私有内存，共 %s 个任务（开头 %s 个作为预热剔除）。每个任务 %s KB "   \
      "及以上的增长即可被检出。")                                                                                               \
    X(ROLE, "Role", "角色")                                                                                                     \
    X(SLOPE, "Growth (KB a job)", "增长（KB/任务）")                                                                            \
    X(INTERVAL, "95 %% interval", "95%% 置信区间")                                                                              \
    X(P, "p (Mann-Kendall)", "p 值 (Mann-Kendall)")                                                                             \
    X(FIRST_LAST, "First and last tenth (MB)", "首尾十分之一中位数 (MB)")                                                       \
    X(VERDICT, "Verdict", "结论")                                                                                               \
    X(LEVEL, "level", "平稳")                                                                                                   \
    X(GROWS, "**grows**", "**增长**")                                                                                           \
    X(TOO_FEW, "too few jobs", "任务太少")                                                                                      \
    X(PEAKS, "Peak against the length of the audio", "峰值与音频长度")                                                          \
    X(PEAKS_TEXT,                                                                                                               \
      "Of all processes together: private memory, which no other program changes. Of one "                                      \
      "process: resident memory, with the mapped weights that all workers share.",                                              \
      "所有进程一行为私有内存，不受其他程序影响；"                                                         \
      "单个进程为常驻内存，包含各工作进程共享的映射权重。")                                                                     \
    X(PEAK_OF, "Peak of", "峰值对象")                                                                                           \
    X(PEAK_AT, "%s (MB)", "%s (MB)")                                                                                            \
    X(PER_HOUR, "More an hour of audio (MB)", "每小时音频增加 (MB)")                                                            \
    X(ALL, "all processes", "所有进程")                                                                                         \
    X(CHART_JOBS, "Private memory after each job", "每个任务结束后的私有内存")                                                  \
    X(AXIS_JOB, "job", "任务序号")                                                                                              \
    X(AXIS_MB, "MB", "MB")                                                                                                      \
    X(FITTED, "fitted line of all", "合计的拟合线")                                                                             \
    X(CHART_RTF, "RTF by length of recording", "不同时长录音的 RTF")                                                            \
    X(AXIS_LENGTH, "length of the recording, s", "录音时长（秒）")                                                              \
    X(RTF_WAIT, "submission to result", "从提交到结果")                                                                         \
    X(RTF_WORK, "work alone", "仅处理")                                                                                         \
    X(BASELINE,                                                                                                                 \
      "**Before and after**, worker memory after the longest recording: before %s MB, now %s MB.",                              \
      "**前后对比**（最长音频后的 Worker 内存变化）：修复前 %s MB，修复后 %s MB。")                                             \
    X(BASELINE_RATIO,                                                                                                           \
      "**Before and after**, worker memory after the longest recording: before %s MB, now %s MB: "                              \
      "**%s times less**.",                                                                                                     \
      "**前后对比**（最长音频后的 Worker 内存变化）：修复前 %s MB，修复后 %s MB，改善比例 **%s "   \
      "倍**。")                                                                                                                 \
                                                                                                                                \
    X(PHASE_2, "Phase 2: concurrency", "阶段 2：并发压力测试")                                                                  \
    X(LEVEL_OF, "Concurrency", "并发级别")                                                                                      \
    X(TASKS, "Tasks", "任务数")                                                                                                 \
    X(SUCCESS, "Success", "成功")                                                                                               \
    X(FAILURES, "Failed", "失败")                                                                                               \
    X(REFUSED, "Refused", "被拒绝")                                                                                             \
    X(MEAN_RTF, "Mean RTF", "平均 RTF")                                                                                         \
    X(LATENCY, "Latency, median / 95 %% (s)", "延迟 中位数 / 95%%（秒）")                                                       \
    X(THROUGHPUT, "Audio s a second", "每秒处理音频（秒）")                                                                     \
    X(OUTCOME, "Result", "结果")                                                                                                \
    X(STABLE, "stable", "稳定")                                                                                                 \
    X(UNSTABLE, "unstable", "不稳定")                                                                                           \
    X(INCOMPLETE, "incomplete", "不完整")                                                                                       \
    X(MAX_STABLE, "Maximum stable concurrency: **%s**.", "最大稳定并发数：**%s**。")                                            \
    X(LIMIT_MET, "What stopped the next level: `%s`.", "下一级别停止的原因：`%s`。")                                            \
    X(NO_LIMIT, "No limit was met.", "未遇到上限。")                                                                            \
    X(CHART_LATENCY, "Latency by number of jobs at once", "不同并发数下的延迟")                                                 \
    X(AXIS_AT_ONCE, "jobs at once", "并发任务数")                                                                               \
    X(AXIS_S, "s", "秒")                                                                                                        \
    X(MEDIAN, "median", "中位数")                                                                                               \
    X(PERCENT_95, "95 %%", "95%%")                                                                                              \
                                                                                                                                \
    X(PHASE_3, "Phase 3: endurance", "阶段 3：耐久测试")                                                                        \
    X(ENDURANCE_TEXT,                                                                                                           \
      "%s jobs, %s of audio, %s failed; lengths and formats mixed, several at once. Their memory "                              \
      "is judged together with phase 1.",                                                                                       \
      "%s 个任务，共 %s 音频，失败 %s 个；时长与格式混合，多个并行。其内存与阶段 1 一并判定。")                                 \
                                                                                                                                \
    X(RESOURCES, "System resources", "系统资源监控数据")                                                                        \
    X(SAMPLING, "Sampling", "采样统计")                                                                                         \
    X(SAMPLES, "Samples: %s in %s ticks", "总样本数：%s（%s 次采样）")                                                          \
    X(SPAN, "Span: %s", "监控时长：%s")                                                                                         \
    X(TICK, "Interval: %s s", "采样间隔：%s 秒")                                                                                \
    X(TREE_TEXT, "Largest sum of all processes at one time: **%s MB** at %s s (%s)",                                            \
      "同一时刻所有进程之和的最大值：**%s MB**，在 %s 秒（%s）")                                                                \
    X(PSS, "PSS: shared pages counted once", "PSS：共享页只计一次")                                                             \
    X(RSS, "RSS: shared pages counted by each process", "RSS：共享页被每个进程重复计算")                                        \
    X(BY_PROCESS, "Processes", "各进程")                                                                                        \
    X(BY_ROLE, "Processes by role", "按角色汇总")                                                                               \
    X(NAME, "Name", "名称")                                                                                                     \
    X(PID, "PID", "PID")                                                                                                        \
    X(JOB, "Job", "任务")                                                                                                       \
    X(COUNT, "Number", "数量")                                                                                                  \
    X(SEEN, "Seen (s)", "出现时段（秒）")                                                                                       \
    X(RSS_MB, "RSS first / last / **peak** (MB)", "RSS 首 / 末 / **峰值** (MB)")                                                \
    X(CPU, "CPU mean / peak (%%)", "CPU 平均 / 峰值 (%%)")                                                                      \
    X(IDLE, "Idle (%%)", "空闲 (%%)")                                                                                           \
    X(WINDOW, "Inference window (s)", "推理窗口（秒）")                                                                         \
    X(WINDOW_CPU, "mean %s %%", "平均 %s%%")                                                                                    \
    X(SHORT_LIVED, "%s more processes, with lower peaks, are in the CSV.",                                                      \
      "另有 %s 个峰值更低的进程，见 CSV。")                                                                                     \
    X(CHART_MEMORY, "Memory over time", "内存随时间变化")                                                                       \
    X(CHART_CPU, "CPU over time", "CPU 随时间变化")                                                                             \
    X(AXIS_TIME, "time, s", "时间（秒）")                                                                                       \
    X(AXIS_CPU, "CPU, %% (100 = one core)", "CPU %%（100 = 一个核）")                                                           \
    X(SHADE, "inference window", "推理窗口")                                                                                    \
    X(ROLE_PARENT, "parent", "父进程")                                                                                          \
    X(ROLE_CHILD, "child", "子进程")                                                                                            \
    X(ROLE_PROCESS, "process", "进程")                                                                                          \
    X(ROLE_SUPERVISOR, "supervisor", "监管进程")                                                                                \
    X(ROLE_GATEWAY, "gateway", "网关")                                                                                          \
    X(ROLE_WORKER, "worker", "工作进程")                                                                                        \
    X(ROLE_DECODER, "decoder", "解码进程")                                                                                      \
    X(ROLE_ZYGOTE, "zygote", "派生进程")                                                                                        \
                                                                                                                                \
    X(FINDINGS, "Key findings", "关键发现")                                                                                     \
    X(BUSIEST, "Busiest process: %s (PID %s)", "最繁忙的进程：%s（PID %s）")                                                    \
    X(AT, "Time", "时间点")                                                                                                     \
    X(CPU_USAGE, "CPU usage", "CPU 使用率")                                                                                     \
    X(MEMORY_RSS, "RSS (MB)", "内存 RSS (MB)")                                                                                  \
    X(NOTE, "Note", "说明")                                                                                                     \
    X(NOTE_FIRST, "first sample", "首个样本")                                                                                   \
    X(NOTE_WINDOW, "inference begins", "推理开始")                                                                              \
    X(NOTE_PEAK, "**memory at its peak**", "**内存峰值**")                                                                      \
    X(NOTE_END, "inference ends", "推理完成")                                                                                   \
    X(NOTE_LAST, "last sample", "最后样本")                                                                                     \
    X(OBSERVATIONS, "Observations", "重要观察")                                                                                 \
    X(FIND_HIDDEN,                                                                                                              \
      "**The level line is the parent's.** Process %s is idle for %s %% of the samples and takes "                              \
      "%s MB; the figures called worker memory in the records are its. The work was done by "                                   \
      "other processes, whose peaks were %s MB. The level line of the one hides the peaks of the "                              \
      "others.",                                                                                                                \
      "**平稳的曲线属于父进程。** 进程 %s 在 %s%% 的样本中空闲，占用 %s MB；记录中称为 Worker "    \
      "内存的正是它。实际工作由其他进程完成，其峰值为 %s MB。前者的平稳掩盖了后者的峰值。")                                     \
    X(FIND_CHILDREN,                                                                                                            \
      "Each of these processes grew from its first to its last sample by %s MB and then ended: "                                \
      "memory returned because the process ended, not because anything was freed.",                                             \
      "这些进程从首个样本到最后样本分别增长 %s "                                                              \
      "MB，随后退出：内存之所以归还，是因为进程结束，而不是因为释放。")                                                         \
    X(FIND_LOAD,                                                                                                                \
      "Process %s worked for %s s, of which inference took %s s (RTF %s); the rest is start and "                               \
      "loading.",                                                                                                               \
      "进程 %s 共运行 %s 秒，其中推理 %s 秒（RTF %s）；其余为启动与加载。")                                                     \
    X(FIND_PEAK, "The highest memory of one process: **%s MB** (%s, PID %s, at %s s).",                                         \
      "单个进程的最高内存：**%s MB**（%s，PID %s，%s 秒处）。")                                                                 \
    X(FIND_CPU, "CPU use while inferring: %s %% on average in the longest window.",                                             \
      "推理期间的 CPU 使用率：最长窗口内平均 %s%%。")                                                                           \
    X(FIND_LEVEL,                                                                                                               \
      "After the warm-up the private memory of all processes went from %s to %s MB over %s jobs.",                              \
      "预热之后，所有进程的私有内存在 %3$s 个任务中由 %1$s MB 变为 %2$s MB。")                                                  \
    X(FIND_TEXT, "%s jobs on the same recording gave the same text each time.",                                                 \
      "同一录音的 %s 个任务每次得到相同文本。")                                                                                 \
    X(FIND_TEXTS, "Jobs on the same recording gave different texts: %s.",                                                       \
      "同一录音的任务得到了不同文本：%s。")                                                                                     \
                                                                                                                                \
    X(CONCLUSIONS, "Conclusions", "验证结论")                                                                                   \
    X(OOM, "Protection against running out of memory (OOM)", "OOM 防护")                                                        \
    X(SPEED, "Speed", "加速机制")                                                                                               \
    X(EVIDENCE, "Evidence", "证据")                                                                                             \
    X(BEFORE_LABEL, "Problem before", "之前问题")                                                                               \
    X(NOW_LABEL, "Now", "现在")                                                                                                 \
    X(OOM_SLOPE, "growth of all processes %s KB a job, 95 %% interval %s to %s",                                                \
      "所有进程每个任务增长 %s KB，95%% 置信区间 %s 至 %s")                                                                     \
    X(OOM_PEAK, "peak of all processes %s MB", "所有进程峰值 %s MB")                                                            \
    X(OOM_LENGTH, "a recording %s times as long takes %s MB more at its peak",                                                  \
      "时长 %s 倍的录音，峰值多占 %s MB")                                                                                       \
    X(OOM_HIDDEN,                                                                                                               \
      "cannot be concluded from these records: they measured the process that does not work. Two "                              \
      "jobs at once would need about %s MB.",                                                                                   \
      "无法从这些记录得出：它们测的是不工作的进程。同时两个任务约需 %s MB。")                                                   \
    X(SPEED_RTF, "RTF %s (median), %s (slowest): 1 hour of audio in about %s",                                                  \
      "RTF %s（中位数）、%s（最慢）：1 小时音频约需 %s")                                                                        \
    X(SPEED_WORK, "of that, work alone: RTF %s (median)", "其中仅处理：RTF %s（中位数）")                                       \
    X(SPEED_BEFORE, "RTF %s (median)", "RTF %s（中位数）")                                                                      \
    X(BEFORE_SLOPE, "growth of all processes %s KB a job", "所有进程每个任务增长 %s KB")                                        \
    X(BEFORE_DELTA, "worker memory %s MB more after the longest recording",                                                     \
      "最长录音之后 Worker 内存变化 %s MB")                                                                                     \
                                                                                                                                \
    X(LAYERS, "Clean-up, layer by layer", "三层清理策略")                                                                       \
    X(LAYER, "Layer", "层次")                                                                                                   \
    X(EFFECT, "Effect in these data", "数据中的效果")                                                                           \
    X(EFFECTIVE, "effective", "有效")                                                                                           \
    X(NOT_EFFECTIVE, "not effective", "无效")                                                                                   \
    X(NOT_SEEN, "not seen", "未见")                                                                                             \
    X(LAYER_1, "1. What a job takes is reset at its end", "1. 任务占用在结束时复位")                                            \
    X(LAYER_1_TEXT, "growth %s KB a job", "每个任务增长 %s KB")                                                                 \
    X(LAYER_2, "2. Free pages return to the system", "2. 空闲页归还系统")                                                       \
    X(LAYER_2_TEXT,                                                                                                             \
      "worker's private memory from %s MB while it worked to %s MB at its lowest after that",                                   \
      "Worker 私有内存由工作时的 %s MB 降到之后的最低 %s MB")                                                                   \
    X(LAYER_3, "3. Processes end and are replaced", "3. 进程结束并被替换")                                                      \
    X(LAYER_3_TEXT, "%s processes ended, with %s MB at the most", "%s 个进程结束，最多占用 %s MB")                              \
                                                                                                                                \
    X(DATA, "Data files", "数据文件")                                                                                           \
    X(DATA_JSONL, "`%s`: %s records, one line for each job", "`%s`：%s 条记录，每行一个任务")                                   \
    X(DATA_CSV, "`%s`: %s rows, one for each process and tick",                                                                 \
      "`%s`：%s 行，每个进程每次采样一行")                                                                                      \
    X(DATA_BASELINE, "`%s`: %s records of the run before", "`%s`：对照运行的 %s 条记录")                                        \
    X(DATA_BAD, "%s broken lines were passed over", "%s 行损坏，已跳过")                                                        \
    X(FIELDS, "Fields", "字段")                                                                                                 \
    X(FIELD_1, "`timestamp`, `elapsed_seconds`: local time, seconds since the first sample",                                    \
      "`timestamp`、`elapsed_seconds`：本地时间、距首个样本的秒数")                                                             \
    X(FIELD_2, "`process_name`, `pid`, `role`: program, process, its part in the server",                                       \
      "`process_name`、`pid`、`role`：程序、进程、在服务中的角色")                                                              \
    X(FIELD_3,                                                                                                                  \
      "`cpu_percent`: 100 is one core; `memory_rss_mb`, `memory_pss_mb`, `memory_private_mb`: "                                 \
      "resident, proportional, private memory in MiB",                                                                          \
      "`cpu_percent`：100 "                                                                                                    \
      "为一个核；`memory_rss_mb`、`memory_pss_mb`、`memory_private_mb`：常驻、按比例、私有内存 "             \
      "(MiB)")                                                                                                                  \
                                                                                                                                \
    X(METHOD, "Method", "测试方法")                                                                                             \
    X(METHOD_1,                                                                                                                 \
      "**RTF** = processing time / length of the audio; below 1 is faster than real time. The "                                 \
      "time is from submission to the result seen, and includes waiting; “work alone” is what "                             \
      "the server says it needed.",                                                                                             \
      "**RTF** = 处理时间 / 音频时长；小于 1 "                                                                       \
      "即快于实时。时间从提交算到看到结果，包含排队；“仅处理”是服务自报的处理用时。")                                           \
    X(METHOD_2,                                                                                                                 \
      "**Growth** is the Theil-Sen slope of private memory (dirty and swapped pages) after a job "                              \
      "against the job's number: the median of the slopes between all pairs of jobs, with Sen's "                               \
      "95 %% interval. It counts as growth when the interval lies above 0, the Mann-Kendall test "                              \
      "agrees (p < 0.01), and it is more than 1 KB a job and 0.25 MB in all.",                                                  \
      "**增长** 是任务结束后私有内存（脏页与换出页）对任务序号的 Theil-Sen "                          \
      "斜率：所有任务两两之间斜率的中位数，附 Sen 的 95%% 置信区间。当区间高于 0、Mann-Kendall " \
      "检验一致 (p < 0.01)、且每个任务超过 1 KB、总量超过 0.25 MB 时，判为增长。")                                              \
    X(METHOD_3,                                                                                                                 \
      "**Peak against length**: a long recording may take at most 2 MB (or 2 %%) more than a "                                  \
      "short one, in the private memory of all processes together, in a worker, in a decoder.",                                 \
      "**峰值与时长**：长录音的峰值最多可比短录音高 2 MB（或 2%%），分别针对所有进程之和 "    \
      "(PSS)、工作进程与解码进程。")                                                                                            \
    X(METHOD_4,                                                                                                                 \
      "**Processes**: the whole tree of the server, found by parent links, whoever in it does "                                 \
      "the work. Idle share: samples below 10 %% CPU. Inference window: the longest run of "                                    \
      "samples at 150 %% CPU and more, gaps of up to 3 samples bridged; of a process with one "                                 \
      "thread, from its first to its last sample at 10 %% and more.",                                                           \
      "**进程**：按父子关系找到服务的整棵进程树，无论由谁干活。空闲占比：CPU 低于 10%% "       \
      "的样本。推理窗口：CPU 不低于 150%% 的最长连续样本，允许跨越至多 3 "                            \
      "个样本的间隙；单线程进程则取首个到最后一个不低于 10%% 的样本。")                                                         \
    X(METHOD_5,                                                                                                                 \
      "**The original's thresholds**: less than 200 MB more in the worker after the long "                                      \
      "recording, and RTF below 1.",                                                                                            \
      "**原报告的阈值**：长录音之后 Worker 内存增长低于 200 MB，且 RTF 小于 1。")                                               \
    X(FURTHER, "Further analysis", "进一步研究建议")                                                                            \
    X(FURTHER_TEXT, "Both files load as they are:", "两个文件均可直接读取：")                                                   \
                                                                                                                                \
    X(SUMMARY, "Summary", "总结")                                                                                               \
    X(METRIC, "Metric", "指标")                                                                                                 \
    X(BEFORE, "Before", "修复前")                                                                                               \
    X(AFTER, "After", "修复后")                                                                                                 \
    X(VALUE, "Value", "数值")                                                                                                   \
    X(GAIN, "Gain", "提升")                                                                                                     \
    X(M_DELTA, "Worker memory after the longest recording (MB)", "长音频内存增长 (MB)")                                         \
    X(M_SLOPE, "Growth of all processes (KB a job)", "所有进程的增长（KB/任务）")                                               \
    X(M_PEAK, "Peak of all processes (MB)", "所有进程峰值 (MB)")                                                                \
    X(M_WORKER, "Peak of a worker (MB)", "工作进程峰值 (MB)")                                                                   \
    X(M_RTF, "RTF, median", "RTF 中位数")                                                                                       \
    X(M_ROW, "Jobs in a row", "可连续处理的任务数")                                                                             \
    X(M_AT_ONCE, "Jobs at once", "最大稳定并发数")                                                                              \
    X(TIMES, "%s×", "%s 倍")                                                                                                    \
    X(KEPT, "kept", "保持")                                                                                                     \
                                                                                                                                \
    X(DETAILS, "Detailed results", "详细结果")                                                                                  \
    X(TEST_ID, "Test ID", "测试 ID")                                                                                            \
    X(AUDIO, "Audio", "音频")                                                                                                   \
    X(STATUS, "Status", "状态")                                                                                                 \
    X(DELTA, "Memory Δ (MB)", "内存 Δ (MB)")                                                                                    \
    X(STATUS_SUCCESS, "success", "成功")                                                                                        \
    X(STATUS_FAILED, "failed", "失败")                                                                                          \
    X(STATUS_TIMEOUT, "timeout", "超时")                                                                                        \
    X(DETAILS_CUT,                                                                                                              \
      "The first and the last %s of %s, and all that did not succeed; the rest is in the JSONL.",                               \
      "列出 %2$s 条中的前后各 %1$s 条，以及所有未成功的；其余见 JSONL。")                                                       \
    X(DETAILS_FAILED, "%s more that did not succeed are in the JSONL.",                                                         \
      "另有 %s 条未成功的见 JSONL。")                                                                                           \
    X(MADE_BY,                                                                                                                  \
      "Made by `otolith report` %s from the files named above; no figure was entered by hand.",                                 \
      "由 `otolith report` %s 根据上述文件生成，没有任何手工填写的数字。")

enum {
#define X(id, en, zh) T_##id,
    OTO_REPORT_TEXTS(X)
#undef X
        T_TEXTS
};

#endif
