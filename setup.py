"""The entry that tools which know no setup.cfg still ask for; everything is declared there."""

from setuptools import setup

setup()
