"""Chaos: everything is killed, stalled, wiped and filled while documents come in; in the end each is accounted for."""
