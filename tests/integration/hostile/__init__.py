"""Hostile input for a real daemon, by where it hurts. test_hostile.py runs it."""
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(_HERE, "..", "..", "lib"), os.path.join(_HERE, "..", "..", "interop")]
