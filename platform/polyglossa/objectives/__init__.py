"""The maths of training: functions of tensors that know no rank, no config and no logger. Imports torch only."""
