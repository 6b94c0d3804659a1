"""This file marks the folder of what several tests share."""
