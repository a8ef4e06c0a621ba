"""The seventeen benchmarks that F2LLM-v2 publishes results on, by short name, as mteb names them."""

BENCHMARKS = {
    "multilingual": "MTEB(Multilingual, v2)",
    "english": "MTEB(eng, v2)",
    "code": "MTEB(Code, v1)",
    "medical": "MTEB(Medical, v1)",
    "europe": "MTEB(Europe, v1)",
    "scandinavian": "MTEB(Scandinavian, v1)",
    "indic": "MTEB(Indic, v1)",
    "german": "MTEB(deu, v1)",
    "french": "MTEB(fra, v1)",
    "korean": "MTEB(kor, v1)",
    "polish": "MTEB(pol, v1)",
    "chinese": "MTEB(cmn, v1)",
    "japanese": "JMTEB(v2)",
    "dutch": "MTEB(nld, v1)",
    "russian": "MTEB(rus, v1.1)",
    "persian": "MTEB(fas, v2)",
    "vietnamese": "VN-MTEB (vie, v1)",
}
