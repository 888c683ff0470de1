"""Screening of whole datasets: files in, scored, kept and dropped files out.

What a killed run had measured is not measured again, and nothing is held but numbers: three or four to a sample and
vector.
"""
