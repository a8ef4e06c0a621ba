"""Gather what a mining run holds in memory: rows that are mined, rows that say what is no negative, pools."""
