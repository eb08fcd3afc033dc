/* The statistics that FunASR publishes with FSMN-VAD, Paraformer and SenseVoice: 1 / deviation of
 * each of the 80 bins (am.mvn of iic/speech_fsmn_vad_zh-cn-16k-common-pytorch; the other models'
 * files hold the same values, repeated). SenseVoice's exporter takes the brackets of the file's
 * first component for data: what it calls scale is the shift, and the scale is missing from its
 * GGUF. */
#include "models/sensevoice/sensevoice.h"

const float oto_sv_published_scale[OTO_FBANK_MELS] = {
    0.155775f,  0.154484f,  0.1527379f, 0.1518718f, 0.1506028f, 0.1489256f, 0.147067f,  0.1447061f,
    0.1436307f, 0.1443568f, 0.1451849f, 0.1455157f, 0.1452821f, 0.1445717f, 0.1439195f, 0.1435867f,
    0.1436018f, 0.1438781f, 0.1442086f, 0.1448844f, 0.1454756f, 0.145663f,  0.146268f,  0.1467386f,
    0.1472724f, 0.147664f,  0.1480913f, 0.1483739f, 0.1488841f, 0.1493636f, 0.1497088f, 0.1500379f,
    0.1502916f, 0.1505389f, 0.1506787f, 0.1507102f, 0.1505992f, 0.1505445f, 0.1505938f, 0.1508133f,
    0.1509569f, 0.1512396f, 0.1514625f, 0.1516195f, 0.1516156f, 0.1515561f, 0.1514966f, 0.1513976f,
    0.1512612f, 0.151076f,  0.1510596f, 0.1510431f, 0.151077f,  0.1511168f, 0.1511917f, 0.151023f,
    0.1508045f, 0.1505885f, 0.1503493f, 0.1502373f, 0.1501726f, 0.1500762f, 0.1500065f, 0.1499782f,
    0.150057f,  0.1502658f, 0.150469f,  0.1505335f, 0.1505505f, 0.1505328f, 0.1504275f, 0.1502438f,
    0.1499674f, 0.1497118f, 0.1494661f, 0.1493102f, 0.1493681f, 0.1495501f, 0.1499738f, 0.1509654f,
};
