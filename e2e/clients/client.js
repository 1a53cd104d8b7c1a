// The AWS SDK for JavaScript v3: the options are the first argument, in JSON; the outcome goes to stdout. The modules come from NODE_PATH.
// Options: region, endpoint (a URL), insecure (accept any certificate), again (a second connection).
const https = require("node:https");
const { DynamoDBClient, PutItemCommand, GetItemCommand } = require("@aws-sdk/client-dynamodb");

async function work(o) {
  const config = { region: o.region, maxAttempts: 1 };
  if (o.endpoint) config.endpoint = o.endpoint;
  if (o.insecure) config.requestHandler = { httpsAgent: new https.Agent({ keepAlive: true, rejectUnauthorized: false }) };
  if (o.again) {
    // One connection a request, one agent: the second request resumes the first one's TLS session.
    config.requestHandler = { httpsAgent: new https.Agent({ keepAlive: false }) };
  }
  const client = new DynamoDBClient(config);
  const item = { id: { S: "customer-of-the-tests" }, note: { S: process.env.E2E_NOTE } };
  await client.send(new PutItemCommand({ TableName: "Orders", Item: item }));
  const found = await client.send(new GetItemCommand({ TableName: "Orders", Key: { id: item.id } }));
  client.destroy();
  return found.Item && found.Item.note.S === item.note.S ? "" : "another item came back";
}

work(JSON.parse(process.argv[2]))
  .catch((e) => `${e.name}: ${e.message} ${e.code || ""}`)
  .then((problem) => console.log(JSON.stringify({ problem })));
