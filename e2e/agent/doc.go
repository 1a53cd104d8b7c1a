// Package agent runs the agent as an operator does, from the program's own build and its exported dashboards and rules: clients and servers that do
// things right and wrong, receivers of alerts, and a Prometheus that scrapes it all.
//
// The tests run in a network namespace of their own, which this package enters before the first: what they call DynamoDB's is at TEST-NET addresses
// on its loopback interface. Wrong traffic that no ordinary client makes is put onto a cable by the frame.
package agent
