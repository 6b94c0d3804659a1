"""Stages that change a reply's events to make up for features the upstream lacks."""
