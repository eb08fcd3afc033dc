/* av (private to media/): libav, loaded at run time.
 *
 * Its libraries draw in a hundred others: linked, they would cost every process of the program tens
 * of milliseconds at its start and megabytes of relocations. Only the decoder needs them. The table
 * holds the functions used; decoder.c calls them by their own names. */
#ifndef OTO_AV_H
#define OTO_AV_H

#include "base/base.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>

/* X(library, function) */
#define OTO_AV_FUNCTIONS(X)                                                                        \
    /* libavformat */                                                                              \
    X(avformat, av_find_best_stream)                                                               \
    X(avformat, av_find_input_format)                                                              \
    X(avformat, av_read_frame)                                                                     \
    X(avformat, avformat_alloc_context)                                                            \
    X(avformat, avformat_find_stream_info)                                                         \
    X(avformat, avformat_open_input)                                                               \
    X(avformat, avformat_version)                                                                  \
    X(avformat, avio_alloc_context)                                                                \
    /* libavcodec */                                                                               \
    X(avcodec, av_packet_alloc)                                                                    \
    X(avcodec, av_packet_unref)                                                                    \
    X(avcodec, avcodec_alloc_context3)                                                             \
    X(avcodec, avcodec_get_name)                                                                   \
    X(avcodec, avcodec_open2)                                                                      \
    X(avcodec, avcodec_parameters_to_context)                                                      \
    X(avcodec, avcodec_receive_frame)                                                              \
    X(avcodec, avcodec_send_packet)                                                                \
    X(avcodec, avcodec_version)                                                                    \
    /* libavutil */                                                                                \
    X(avutil, av_channel_layout_compare)                                                           \
    X(avutil, av_channel_layout_copy)                                                              \
    X(avutil, av_channel_layout_default)                                                           \
    X(avutil, av_channel_layout_describe)                                                          \
    X(avutil, av_channel_layout_uninit)                                                            \
    X(avutil, av_dict_free)                                                                        \
    X(avutil, av_dict_set)                                                                         \
    X(avutil, av_dict_set_int)                                                                     \
    X(avutil, av_frame_alloc)                                                                      \
    X(avutil, av_frame_unref)                                                                      \
    X(avutil, av_log_set_level)                                                                    \
    X(avutil, av_malloc)                                                                           \
    X(avutil, av_opt_set_double)                                                                   \
    X(avutil, av_strerror)                                                                         \
    /* libswresample */                                                                            \
    X(swresample, swr_alloc_set_opts2)                                                             \
    X(swresample, swr_convert)                                                                     \
    X(swresample, swr_free)                                                                        \
    X(swresample, swr_init)                                                                        \
    X(swresample, swr_set_matrix)                                                                  \
    X(swresample, swresample_version)

typedef struct {
#define X(library, function) __typeof__(&function) function##_;
    OTO_AV_FUNCTIONS(X)
#undef X
} oto_av_table;
extern oto_av_table oto_av;

/* Once in a process, before any of the functions. Fails with UNAVAILABLE and the library's name. */
int oto_av_load(oto_err *e) OTO_CHECK;

#ifndef OTO_AV_NAMES
#define av_find_best_stream           oto_av.av_find_best_stream_
#define av_find_input_format          oto_av.av_find_input_format_
#define av_read_frame                 oto_av.av_read_frame_
#define avformat_alloc_context        oto_av.avformat_alloc_context_
#define avformat_find_stream_info     oto_av.avformat_find_stream_info_
#define avformat_open_input           oto_av.avformat_open_input_
#define avformat_version              oto_av.avformat_version_
#define avio_alloc_context            oto_av.avio_alloc_context_
#define av_packet_alloc               oto_av.av_packet_alloc_
#define av_packet_unref               oto_av.av_packet_unref_
#define avcodec_alloc_context3        oto_av.avcodec_alloc_context3_
#define avcodec_get_name              oto_av.avcodec_get_name_
#define avcodec_open2                 oto_av.avcodec_open2_
#define avcodec_parameters_to_context oto_av.avcodec_parameters_to_context_
#define avcodec_receive_frame         oto_av.avcodec_receive_frame_
#define avcodec_send_packet           oto_av.avcodec_send_packet_
#define avcodec_version               oto_av.avcodec_version_
#define av_channel_layout_compare     oto_av.av_channel_layout_compare_
#define av_channel_layout_copy        oto_av.av_channel_layout_copy_
#define av_channel_layout_default     oto_av.av_channel_layout_default_
#define av_channel_layout_describe    oto_av.av_channel_layout_describe_
#define av_channel_layout_uninit      oto_av.av_channel_layout_uninit_
#define av_dict_free                  oto_av.av_dict_free_
#define av_dict_set                   oto_av.av_dict_set_
#define av_dict_set_int               oto_av.av_dict_set_int_
#define av_frame_alloc                oto_av.av_frame_alloc_
#define av_frame_unref                oto_av.av_frame_unref_
#define av_log_set_level              oto_av.av_log_set_level_
#define av_malloc                     oto_av.av_malloc_
#define av_opt_set_double             oto_av.av_opt_set_double_
#define av_strerror                   oto_av.av_strerror_
#define swr_alloc_set_opts2           oto_av.swr_alloc_set_opts2_
#define swr_convert                   oto_av.swr_convert_
#define swr_free                      oto_av.swr_free_
#define swr_init                      oto_av.swr_init_
#define swr_set_matrix                oto_av.swr_set_matrix_
#define swresample_version            oto_av.swresample_version_
#endif

#endif
