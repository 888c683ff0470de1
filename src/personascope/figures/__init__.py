"""Figures: frames in, ink out. They choose colours and places, never data: no file, filter, statistic or trait."""
