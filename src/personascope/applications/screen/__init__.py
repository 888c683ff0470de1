"""Screening of whole datasets: files in, scored, kept and dropped files out.

Owns: what stands between :mod:`personascope.applications.screen.core` and files. The one law: what a killed run had measured
is not measured again, and nothing is held but numbers: three or four to a sample and vector.
"""
