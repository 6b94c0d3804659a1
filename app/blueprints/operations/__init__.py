"""What those who run the gateway ask of it: health, metrics, usage, versions; and who may ask."""
