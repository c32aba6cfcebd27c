"""Measurements over the data sets in `$FOOTNOTE_SHARED`, each one JSON object. `docs/figures.md` tells the rest."""
