"""Driving signals, their editing and the deformation of points (paper D.2)."""
