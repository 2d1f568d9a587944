"""The report: a calibration as one page of HTML with its figures, to look at and to hand on."""
