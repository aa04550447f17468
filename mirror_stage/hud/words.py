"""The words of the plain page, in the languages of the HUD."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "count": "{total} hosts, {online} online, {at}",
        "hud": "The mirror world",
        "unbuilt": "The HUD is not built here. Run make run; an installed wheel contains it.",
        "caption": "Every host of the twin {twin}, as it is now",
        "host": "Host", "address": "Address", "status": "Status", "alert": "Alert", "cpu": "CPU", "memory": "Memory",
        "load": "Load", "disk": "Fullest disk", "hottest": "CPU temperature", "network": "Network", "rack": "Rack",
        "seen": "Last seen", "online": "online", "stale": "stale", "offline": "offline", "info": "info",
        "warning": "warning", "critical": "critical", "virtual": "virtual", "unverified": "unverified",
        "more": "Another machine appears here when it sends a sample to {path}.",
        "noscript": "Without JavaScript this page shows the hosts as they were when it was loaded.",
        "lost": "no answer, trying again",
    },
    "ko": {
        "count": "호스트 {total}대, 온라인 {online}대, {at}",
        "hud": "거울 세계",
        "unbuilt": "HUD가 빌드되어 있지 않습니다. make run으로 빌드하세요. 설치용 wheel에는 포함되어 있습니다.",
        "caption": "트윈 {twin}의 모든 호스트, 현재 상태",
        "host": "호스트", "address": "주소", "status": "상태", "alert": "경보", "cpu": "CPU", "memory": "메모리",
        "load": "부하", "disk": "가장 많이 찬 디스크", "hottest": "CPU 온도", "network": "네트워크", "rack": "랙",
        "seen": "마지막 수신", "online": "온라인", "stale": "지연", "offline": "오프라인", "info": "정보",
        "warning": "주의", "critical": "위험", "virtual": "가상", "unverified": "미검증",
        "more": "다른 호스트가 {path}에 샘플을 보내면 여기에 나타납니다.",
        "noscript": "JavaScript가 꺼져 있으면 페이지를 불러온 시점의 상태만 표시합니다.",
        "lost": "응답이 없어 다시 시도하는 중",
    },
}  # fmt: skip
